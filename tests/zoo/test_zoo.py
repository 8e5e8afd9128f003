"""Every network against its exact counts, and some against the NumPy interpreter."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import numpy_network
from helpers.filling import random_variables

from rtseg_jax.architecture import counts, declare, network_class, network_classes, operators
from rtseg_jax.architecture.graph import Op
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.models.initialization import variable_shapes
from rtseg_jax.models.rounding import interpolates_logits
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup, make_step
from rtseg_jax.zoo import __main__

UNEVEN = (60, 76)  # halved to odd sizes

# name: parameters, GMACs at 512×1024 and at 1024×2048, 19 classes; counted on the reference implementations
TABLE = {
    "bisenetv1": (12_894_163, 25.9310, 103.7233),
    "bisenetv1_coincheung": (13_275_539, 29.5847, 118.3383),
    "bisenetv2": (3_358_627, 24.6033, 98.4132),
    "bisenetv2_l": (58_239_347, 122.4224, 489.6895),
    "bisenetv2_l_grouped": (20_183_347, 86.1836, 344.7344),
    "contextnet": (876_563, 1.6813, 6.7353),
    "dabnet": (756_643, 10.2204, 40.8815),
    "ddrnet_23": (20_148_947, 35.7652, 143.0605),
    "ddrnet_23_slim": (5_695_987, 9.0704, 36.2813),
    "deeplabv3plus": (5_225_203, 33.5262, 133.5990),
    "deeplabv3plus_separable": (2_647_907, 9.2059, 36.3179),
    "deeplabv3plus_small": (2_264_835, 10.257, 41.027),  # inferred from 2.26 M and 9.5 · 2³⁰ MACs
    "deeplabv3plus_wide": (15_017_795, 48.938, 195.750),  # see below
    "df1_seg": (9_370_931, 9.2952, 37.1711),  # parameters added up by hand from the code
    "dfanet_a": (1_831_051, 1.8348, 7.3357),
    "edanet": (689_485, 8.8329, 35.3316),
    "enet": (364_311, 3.9221, 15.6883),
    "erfnet": (2_064_191, 26.6043, 106.4174),
    "espnet": (363_462, 4.6703, 18.6811),
    "espnetv2": (787_488, 2.6654, 10.6616),
    "fanet_18": (13_080_128, 11.7788, 47.0912),
    "fanet_34": (23_188_288, 16.6107, 66.4185),
    "fast_scnn": (1_138_051, 1.6769, 6.7083),
    "fasterseg": (3_421_875, 6.9426, 27.7705),
    "hyperseg_s": (10_041_398, 7.2558, 29.0199),
    "icnet": (6_699_987, 7.2572, 29.0288),
    "ldn": (10_314_515, 35.8515, 143.3725),
    "lednet": (922_821, 11.2085, 44.8340),
    "linknet": (11_536_691, 21.7517, 87.0066),
    "linknet_port": (11_535_699, 21.7517, 87.0066),
    "lw_refinenet": (3_279_955, 17.0168, 68.0670),
    "pidnet_l": (36_939_571, 68.7335, 274.9335),
    "pidnet_m": (28_538_515, 44.3323, 177.3287),
    "pidnet_s": (7_625_715, 11.7986, 47.1942),
    "pp_liteseg_b": (12_234_752, 19.2275, 76.9018),
    "pp_liteseg_t": (8_028_320, 11.4211, 45.6763),
    "pp_mobileseg_base": (5_910_211, 3.9145, 15.6155),
    "pp_mobileseg_tiny": (1_458_631, 1.3432, 5.3654),
    "pspnet_101": (65_707_475, 523.4051, 2093.4631),
    "pspnet_50": (46_715_347, 368.2494, 1472.8403),
    "pspnet_mobilenetv2": (13_393_683, 104.818, 419.246),  # see below
    "rgpnet_101": (50_132_115, 96.9702, 387.8808),
    "rgpnet_18": (17_763_987, 32.8141, 131.2565),
    "rtseg": (24_490_035, 137.5421, 639.3559),  # fitted to 24.43 M and 136.0 GMACs
    "segformer_b0": (3_719_027, 17.7571, 120.9574),
    "segnet": (29_453_971, 325.5451, 1302.1804),
    "segnet_basic": (1_417_107, 179.8518, 719.4070),
    "sfnet_df1": (8_422_387, 8.1828, 32.7264),
    "shelfnet18_lw": (14_320_256, 24.6767, 98.7067),
    "sqnet": (16_262_771, 143.8772, 575.5088),
    "squeezenas_l": (1_918_734, 4.8937, 19.5746),
    "squeezenas_s": (465_774, 1.1163, 4.4651),
    "squeezenas_xl": (3_059_323, 8.1823, 32.7292),
    "stdc1": (8_275_104, 16.8631, 67.4519),
    "stdc2": (12_305_568, 23.4566, 93.8257),
    "swiftnet": (11_797_071, 25.8922, 103.5661),
    "topformer_b": (4_839_667, 2.6970, 11.0900),
    "unet": (31_038_803, 385.9431, 1543.7723),
}

HANDFUL = (
    "enet",
    "erfnet",
    "espnetv2",
    "fanet_18",
    "fast_scnn",
    "hyperseg_s",
    "pp_liteseg_t",
    "pp_mobileseg_tiny",
    "segformer_b0",
    "sfnet_df1",
    "topformer_b",
)
"""Networks that together use every operator."""


def test_every_network_has_a_row():
    assert set(TABLE) == set(network_classes())


@pytest.mark.parametrize("name", TABLE)
def test_exact_counts(name):
    parameters, *gmacs = TABLE[name]
    network = declare(network_class(name)(19))
    assert counts.parameters(network) == parameters
    for size, expected in zip(((512, 1024), (1024, 2048)), gmacs, strict=True):
        assert counts.macs(network, size) / 1e9 == pytest.approx(expected, rel=1e-3)
    assert network.plain_blocks[-1].output.size((512, 1024)) == (512, 1024)


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"), [("pspnet_mobilenetv2", 13.7, 52.2), ("deeplabv3plus_wide", 15.4, 25.8)]
)
def test_inferred_rivals_cost_what_the_table_prints(name, parameters, gmacs):
    """RTSeg's table 3: ADE20K at 512×512, the auxiliary head counted as parameters, not as work."""
    network = declare(network_class(name)(150))
    auxiliary = 9 * 96 * 256 + 2 * 256 + 257 * 150
    assert (counts.parameters(network) + auxiliary) / 1e6 == pytest.approx(parameters, abs=0.06)
    assert counts.macs(network, (512, 512)) / 1e9 == pytest.approx(gmacs, rel=1e-2)


@pytest.mark.parametrize("name", TABLE)
def test_maps_that_meet_are_of_one_size(name):
    """At a size that is odd and stays so when it is halved; single rows and columns are spread."""
    for block in declare(network_class(name)(19)).plain_blocks:
        for op in block.ops:
            if isinstance(op, operators.Add | operators.Concat):
                for sides in zip(*(tensor.size((103, 167)) for tensor in op.inputs), strict=True):
                    assert len({*sides} - {1}) <= 1, op.output.name


@pytest.mark.parametrize("name", TABLE)
def test_no_other_map_than_logits_is_interpolated_to_picture_size(name):
    network = declare(network_class(name)(19))
    last = network.plain_blocks[-1]
    expected = [last] if isinstance(last.ops[-1], operators.Resize) else []
    assert [block for block in network.every_block if interpolates_logits(block)] == expected


def test_a_handful_uses_every_operator():
    ops = [op for name in HANDFUL for block in declare(network_class(name)(5)).plain_blocks for op in block.ops]
    concrete = {kind for kind in vars(operators).values() if isinstance(kind, type) and issubclass(kind, Op)}
    assert {type(op) for op in ops} == concrete - {Op, operators.Plain}


@pytest.mark.parametrize("name", HANDFUL)
def test_forward_is_that_of_numpy(name):
    network = declare(network_class(name)(5))
    variables = random_variables(network)
    size = (64, 96) if name == "hyperseg_s" else UNEVEN  # it cuts maps into cells
    images = np.random.default_rng(1).standard_normal((1, *size, 3)).astype(np.float32)
    run = jax.jit(SegmentationNetwork(network).apply)
    found = np.asarray(run(variables, images)["logits"])
    expected, _ = numpy_network.run(network, variables, images)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", HANDFUL)
def test_a_training_step_fits_its_state(name):
    """Traced, not compiled: a step maps a state to one of the same shapes."""
    model = SegmentationNetwork(declare(network_class(name)(5)))
    variables = variable_shapes(model)
    optimizer = optax.sgd(0.1)
    loss = LossSpec()
    step = make_step(StepSetup(model, optimizer, loss, seed=0))

    def whole(variables, batch):
        start = jnp.zeros((), jnp.int32)
        opt_state = optimizer.init(variables["params"])
        state = TrainState(start, variables["params"], variables["batch_stats"], opt_state, None, None, None)
        return state, step(state, batch, None)

    batch = {
        "image": jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((2, 64, 64), jnp.uint8),
    }
    before, (after, metrics) = jax.eval_shape(whole, variables, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(lambda x: (x.shape, x.dtype), after)
    assert metrics["losses"]["total"].shape == ()


@pytest.mark.parametrize(("name", "layers"), [("segformer_b0", 8), ("topformer_b", 4)])
def test_stochastic_depth_rises_evenly(name, layers):
    """To 0.1 at the last layer, both branches of a layer alike; the first layer has none."""
    blocks = declare(network_class(name)(19)).plain_blocks
    found = [[op.rate for op in block.ops if getattr(op, "of", "") == "pictures"] for block in blocks]
    rates = [0.1 * layer / (layers - 1) for layer in range(1, layers)]
    assert [rate for rate in found if rate] == [pytest.approx([rate, rate]) for rate in rates]


def test_a_block_hands_out_its_last_tensor_alone():
    n = Sketch(5)
    b = n.block("one", "case", "part")
    inner = b.conv("inner", n.image, 4)
    b.conv("last", inner, 4)
    n.classifier(n.block("two", "case", "part"), inner)
    with pytest.raises(ValueError, match=r"two reads one\.inner"):
        n.network()


def test_pre_training_is_what_a_source_says():
    """RTSeg's table 1 of its networks, authors' code of others (docs/survey.md); where two disagree it is unknown."""
    yes = ("deeplabv3plus_small", "df1_seg", "pspnet_101", "segformer_b0", "sfnet_df1", "stdc1", "stdc2", "topformer_b")
    said = {**dict.fromkeys(yes, True), "bisenetv2": False, "bisenetv2_l": False, "dabnet": False, "edanet": False}
    begun = (
        "bisenetv1",
        "erfnet",
        "espnetv2",
        "fanet_18",
        "fanet_34",
        "hyperseg_s",
        "icnet",
        "ldn",
        "linknet",
        "segnet",
    )
    said |= dict.fromkeys((*begun, "dfanet_a", "shelfnet18_lw", "squeezenas_xl", "swiftnet"), True)
    said |= {"espnet": False, "lednet": False}
    said |= dict.fromkeys(("contextnet", "enet", "fasterseg", "sqnet"), None)
    for name, expected in said.items():
        scores = [score for score in network_class(name).published.scores if score.source != "authors"]
        found = {score.pretrained for score in scores if score.data_set == "Cityscapes"}
        assert found == {expected}, name
    (camvid,) = (score for score in network_class("bisenetv2_l").published.scores if score.data_set == "CamVid")
    assert camvid.pretrained is None  # perhaps with Cityscapes


# --- the command ---


def command(*arguments):
    return __main__.COMMAND.execute(arguments, "zoo")


def test_table_of_networks(capsys):
    command()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")]
    names = [row.split("│")[1].strip() for row in rows]
    assert [name for name in names if name] == sorted(TABLE)
    (row,) = (row for row in rows if row.startswith("│ fast_scnn"))
    assert "1,138,051" in row
    assert "1.677" in row


def test_one_network(capsys):
    command("enet", "--classes=11", "--size=360x480")
    text = capsys.readouterr().out
    assert "Paszke et al. 2016" in text
    assert "58.3 Cityscapes test [survey], pre-training unknown" in text  # RTSeg says yes, the paper does not
    network = declare(network_class("enet")(11))
    assert f"{counts.parameters(network):,}" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enet", "erfnet"], "error: 2 networks were named"),
        (["enett"], f"error: there is no network 'enett'; there are {', '.join(sorted(TABLE))}"),
        (["--size=512"], "error: --size is '512': it must be HEIGHTxWIDTH, such as 512x1024"),
        (["--classes=1"], "error: --classes is '1': it must be a whole number, at least 2"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    assert command(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_pages_import_architecture_alone():
    """Counting a network needs no JAX."""
    program = (
        "import sys; from rtseg_jax.zoo import __main__; __main__.networks_table(19, (512, 1024)); "
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('rtseg_jax.')}; "
        "print(sorted(rooms), 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()[-1]
        == "['architecture', 'command_line', 'config_files', 'errors', 'files', 'zoo'] False"
    )
