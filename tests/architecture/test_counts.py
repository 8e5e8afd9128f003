"""Exact counts of every kind of network, against published numbers, the parameter tree, and XLA's own count."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import ArchSpec, NetworkSpec, counts, declare, declare_spec, graph
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.zoo import BiSeNetV2, RTSeg
from rtseg_jax.zoo.bisenetv2 import DualBranch

SIZE = (512, 1024)

BISENETV2 = BiSeNetV2(19)
LIR = RTSeg(19, block="lir", width=1.0, segment_blocks=(1, 1, 3))
SUPERNET = RTSeg(19)

# spec, parameters by part, MACs at 512×1024
TABLE = {
    "gather_expansion": (
        BISENETV2,
        {"detail": 519_232, "segment": 1_159_504, "aggregation": 478_720, "head": 1_201_171},
        24_603_312_128,
    ),
    "lir": (
        LIR,
        {"detail": 519_232, "segment": 1_524_496, "aggregation": 478_720, "head": 1_201_171},
        25_005_965_312,
    ),
    "mixed": (
        SUPERNET,
        {
            "detail": 2_527_584,
            "segment": 7_758_488,
            "attention": 6_230_664,
            "aggregation": 2_281_440,
            "head": 5_691_859,
        },
        137_542_115_904,
    ),
}


def test_every_kind_of_network_is_in_the_table():
    assert {type(spec) for spec, *_ in TABLE.values()} == set(DualBranch.__subclasses__())


@pytest.mark.parametrize("name", TABLE)
def test_exact_counts(name):
    spec, by_part, macs = TABLE[name]
    network = declare(spec)
    assert counts.by_part(network, counts.block_parameters) == by_part
    assert counts.parameters(network) == sum(by_part.values())
    assert counts.macs(network, SIZE) == macs


def test_published_numbers():
    assert counts.parameters(declare(BISENETV2)) == 3_358_627
    assert counts.macs(declare(BISENETV2), SIZE) / 1e9 == pytest.approx(24.6, rel=0.005)
    assert counts.parameters(declare(LIR)) == 3_723_619
    assert counts.macs(declare(LIR), SIZE) / 1e9 == pytest.approx(25.1, rel=0.005)
    assert counts.parameters(declare(SUPERNET)) / 1e6 == pytest.approx(24.43, rel=0.02)
    assert counts.macs(declare(SUPERNET), SIZE) / 1e9 == pytest.approx(136.0, rel=0.02)


def test_attention_paths_at_width_1():
    network = declare(RTSeg(19, width=1.0))
    attention = counts.by_part(network, lambda block: counts.block_macs(block, SIZE))["attention"]
    assert 4e9 < attention < 5e9


# --- the parameter tree ---


def sliced_spec(spec: NetworkSpec, seed: int) -> ArchSpec:
    rng = np.random.default_rng(seed)
    supernet = declare(spec)
    paths = {mixed.name: str(rng.choice(["skip", "lir", "mhsa", "mixed"])) for mixed in supernet.mixed_blocks}
    live = {
        group.name
        for choice, block in supernet.walk()
        if choice is None or paths[choice[0]] in (choice[1], "mixed")
        for op in block.ops
        for group in op.output.groups
    }
    widths = {
        group.name: group.snap(int(rng.integers(1, group.size + 1)))
        for group in supernet.searched_groups
        if group.name in live
    }
    return ArchSpec(spec, widths, paths)


TREES = {
    **{name: declare(spec) for name, (spec, _, _) in TABLE.items()},
    "small": declare(RTSeg(3, width=0.25, head_width=8, patch_sizes=(4, 2, 1), expansion=3, mlp_ratio=2)),
    "sliced 0": declare_spec(sliced_spec(RTSeg(11, width=0.5, head_width=16), 0)),
    "sliced 1": declare_spec(sliced_spec(RTSeg(2, width=0.7, segment_blocks=(1, 0, 3)), 1)),
}


def tree_sizes(network: graph.Network) -> Counter:
    """Parameters by block, as Flax would make them."""
    model = SegmentationNetwork(network)
    images = jax.ShapeDtypeStruct((1, 64, 128, 3), jnp.float32)
    tree = jax.eval_shape(lambda key, x: model.init(key, x, auxiliary=True), jax.random.key(0), images)["params"]
    return Counter({name: sum(leaf.size for leaf in jax.tree.leaves(block)) for name, block in tree.items()})


@pytest.mark.parametrize("name", TREES)
def test_parameters_are_those_of_the_tree(name):
    network = TREES[name]
    expected = {block.name: counts.block_parameters(block) for block in (*network.plain_blocks, *network.auxiliary)}
    sizes = tree_sizes(network)
    assert sizes == expected
    inference = sum(sizes.values()) - sum(sizes[block.name] for block in network.auxiliary)
    assert counts.parameters(network) == inference


# --- XLA's cost analysis ---


def contractions(jaxpr, inside: tuple[str, ...] = ()):
    """Yields every convolution and matrix product of a trace with the functions and modules that it is inside of."""
    for eqn in jaxpr.eqns:
        here = (*inside, *str(eqn.source_info.name_stack).split("/"))
        if eqn.primitive.name in ("conv_general_dilated", "dot_general"):
            yield here, eqn
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from contractions(inner, (*here, str(eqn.params.get("name", ""))))


def xla_flops(eqn) -> float:
    """XLA's count for one operation on its own."""
    arguments = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in eqn.invars]
    return jax.jit(lambda *xs: eqn.primitive.bind(*xs, **eqn.params)).lower(*arguments).cost_analysis()["flops"]


def inside_share(eqn) -> float:
    """Share of a convolution's taps that fall on the picture: XLA counts these only."""
    if eqn.primitive.name == "dot_general" or max(eqn.params["lhs_dilation"]) > 1:
        return 1.0
    (_, h, w, _), (kh, kw, _, _), (_, oh, ow, _) = (var.aval.shape for var in (*eqn.invars, *eqn.outvars))
    share = 1.0
    axes = zip((h, w), (kh, kw), (oh, ow), eqn.params["window_strides"], eqn.params["padding"], strict=True)
    for size, taps, out, stride, (before, _) in axes:
        positions = np.arange(out)[:, None] * stride + np.arange(taps)[None, :] - before
        share *= np.mean((positions >= 0) & (positions < size))
    return share


@pytest.mark.parametrize("name", ["gather_expansion", "mixed", "odd"])
def test_macs_are_those_that_xla_counts(name):
    """Operator by operator; what is left of the whole count must be element-wise work."""
    spec, size = {
        "gather_expansion": (BISENETV2, (64, 128)),
        "mixed": (RTSeg(19, width=1.0, segment_blocks=(1, 1, 1)), (64, 128)),
        "odd": (RTSeg(5, width=0.5, segment_blocks=(1, 0, 1), head_width=16), (37, 75)),
    }[name]
    network = declare(spec)
    model = SegmentationNetwork(network, lowering="native")
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def forward(variables, x):
        return model.apply(variables, x)["logits"]

    found: Counter = Counter()
    computed = resizes = pools = 0.0
    operators = {(block.name, op.name): op for block in network.plain_blocks for op in block.ops}
    traced = jax.make_jaxpr(forward)(variables, images)
    for inside, eqn in contractions(traced.jaxpr):
        flops = xla_flops(eqn)
        computed += flops
        owners = [pair for pair in itertools.pairwise(inside) if pair in operators]
        if "resize_bilinear" in inside:
            resizes += flops
        elif owners:  # a layer with parameters has its own module
            found[owners[-1]] += flops / 2 / inside_share(eqn)
        elif eqn.primitive.name == "conv_general_dilated":
            pools += flops
        else:  # the only products without a module of their own are those of attention
            (block,) = {name for name in inside if name.endswith("_mhsa")}
            found[block, "attention"] += flops / 2

    expected = {key: counts.op_macs(op, size) for key, op in operators.items()}
    expected = {key: value for key, value in expected.items() if value}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6), key
    assert sum(found.values()) == pytest.approx(counts.macs(network, size), rel=1e-6)

    whole = jax.jit(forward).lower(variables, images).cost_analysis()["flops"]
    assert pools > 0
    assert resizes > 0
    assert 0 < whole - computed < 0.05 * whole


def test_kept_widths_give_the_counts_of_the_sliced_network():
    spec = RTSeg(7, width=0.5, segment_blocks=(1, 1, 1), head_width=16)
    supernet = declare(spec)
    arch = sliced_spec(spec, 3)
    network = declare_spec(arch)
    source = {block.name: block for block in supernet.plain_blocks}
    for block in network.plain_blocks:
        kept = counts.block_macs(source[block.name], (96, 160), lambda group: arch.widths.get(group.name, group.size))
        assert kept == counts.block_macs(block, (96, 160))
