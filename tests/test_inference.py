"""Files and workdirs as functions of pictures: against each other, against the evaluation, and by hand."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import processes
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from segmenting import EXPORTS, MODEL, SIZE, metadata, random_variables, write_workdir

from rtseg_jax import inference
from rtseg_jax.data import SYNTHETIC_STREETS, DataSpec, build_dataset, evaluation_batches
from rtseg_jax.deployment.converting import metadata_of
from rtseg_jax.deployment.trained import load_trained
from rtseg_jax.errors import UserError
from rtseg_jax.evaluate import Request, evaluate
from rtseg_jax.evaluation.upsampling import label_map
from rtseg_jax.export.metadata import attach_metadata
from rtseg_jax.export.spec import ExportSpec
from rtseg_jax.inference import PILLOW_TO_ARRAY, Segmenter, check_image, from_logits, load
from rtseg_jax.models.normalization import normalize
from rtseg_jax.provenance import provenance
from rtseg_jax.training.run import zero_variables
from rtseg_jax.training.workdir import config_digest
from rtseg_jax.views import Views

STREETS = DataSpec("synthetic_streets", eval_size=SIZE, base_size=(77, 131), num_train=1, num_validation=1)


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    return write_workdir(tmp_path_factory.mktemp("finished"), random_variables())


@pytest.fixture(scope="session")
def exported(workdir):
    processes.run(Path(__file__).with_name("segmenting.py"), workdir.root)
    return workdir.root


@pytest.fixture(scope="session")
def segment(workdir):
    return load(workdir.root)


@pytest.fixture(scope="session")
def street():
    return build_dataset(STREETS).validation[0]


def agreement(found, expected):
    assert found.dtype == expected.dtype == np.uint8
    assert found.shape == expected.shape
    assert len(np.unique(expected)) > 3, "a constant map would agree by chance"
    return (found == expected).mean()


def test_an_export_says_where_it_and_its_weights_come_from(workdir):
    trained = load_trained(workdir)
    found = metadata_of(trained, EXPORTS["logits"]).provenance
    assert found == {"exported": provenance(), "trained": workdir.provenance()}
    config = json.loads((workdir.root / "config.json").read_text())
    assert found["trained"] == provenance() | {"config": config_digest(config)}
    other = dataclasses.replace(trained, provenance=None)  # weights of before
    assert metadata_of(other, EXPORTS["logits"]).provenance["trained"] is None


@pytest.mark.xdist_group("segmenters")  # workers would each train and export their own
@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_agrees_with_the_workdir_at_network_size(exported, segment, street, name):
    picture = street["image"][: SIZE[0], : SIZE[1]]
    found = load(exported / f"{name}.tflite")
    assert (found.labels, found.palette, found.size) == (segment.labels, segment.palette, segment.size)
    assert found.labels == SYNTHETIC_STREETS.class_names
    assert agreement(found(picture), segment(picture)) > 0.999


@pytest.mark.xdist_group("segmenters")
def test_a_file_of_logits_agrees_with_the_workdir_at_odd_sizes(exported, segment, street):
    found = load(exported / "logits.tflite", threads=2)
    for picture in (street["image"], street["image"][:33, :201]):
        assert agreement(found(picture), segment(picture)) > 0.999


@pytest.mark.xdist_group("segmenters")
def test_a_class_map_is_resized_by_nearest(exported, segment, street):
    picture = np.repeat(np.repeat(street["image"][: SIZE[0], : SIZE[1]], 3, axis=0), 3, axis=1)  # its centres are whole
    expected = np.repeat(np.repeat(segment(picture[1::3, 1::3]), 3, axis=0), 3, axis=1)
    assert agreement(load(exported / "class_map.tflite")(picture), expected) > 0.999


@pytest.mark.xdist_group("segmenters")
def test_a_file_and_its_workdir_are_scored_alike(exported, tmp_path):
    request = Request(
        exported, exported / "logits.tflite", STREETS, SYNTHETIC_STREETS, "validation", Views(), tmp_path, pictures=0
    )
    assert "B = logits.tflite" in evaluate(request)
    scores = json.loads((tmp_path / "scores.json").read_text())
    first, second = scores["scores"], scores["other"]["scores"]
    assert first["iou"].keys() == second["iou"].keys()
    assert first["miou"] == pytest.approx(second["miou"], abs=1e-3)
    assert first["pixel_accuracy"] == pytest.approx(second["pixel_accuracy"], abs=1e-3)


@pytest.mark.xdist_group("segmenters")
def test_labels_are_those_that_the_evaluation_scores(segment, street):
    batch = next(evaluation_batches(build_dataset(STREETS).validation, STREETS, 1, num_threads=0))
    variables = jax.tree.map(jnp.asarray, random_variables())
    logits = jax.jit(lambda image: MODEL.apply(variables, normalize(image))["logits"])(batch["image"])
    expected = label_map(np.asarray(logits)[0], batch["label"][0].shape)
    assert expected.shape == (77, 131)
    assert agreement(segment(street["image"]), expected) > 0.999


def test_constant_logits_give_the_constant_map(tmp_path):
    variables = zero_variables(MODEL)
    last = variables["params"]["head"]
    biases = [path for path, leaf in jax.tree_util.tree_leaves_with_path(last) if leaf.shape == (11,)]
    assert len(biases) == 1, "only the bias of the classifier has one number per class"
    head = jax.tree.map(lambda leaf: leaf.at[7].set(1.0) if leaf.shape == (11,) else leaf, last)
    variables["params"]["head"] = head
    segment = load(write_workdir(tmp_path, variables).root)
    for size in ((1, 1), (37, 53), SIZE):
        np.testing.assert_array_equal(segment(np.full((*size, 3), 90, np.uint8)), np.full(size, 7, np.uint8))


def test_of_equal_logits_the_first_class_counts():
    np.testing.assert_array_equal(from_logits(np.array([[[[1, 2, 2]]]], np.float32), (1, 1)), [[1]])


def test_picture_and_logits_are_resized_by_hand():
    seen = []

    def network(picture):
        seen.append(picture[0, :, 0].tolist())
        return jnp.asarray([[[[9.0, 0.0], [0.0, 1.0]]]])

    segment = Segmenter(("a", "b"), ((0, 0, 0), (1, 1, 1)), (1, 2), network, from_logits)
    picture = np.repeat(np.array([[0, 100, 200, 40]], np.uint8)[..., None], 3, axis=2)
    # Logits at quarters: 9, 6.75, 2.25, 0 against 0, 0.25, 0.75, 1; the nearest decisions would be 0 0 1 1.
    np.testing.assert_array_equal(segment(picture), [[0, 0, 0, 1]])
    assert seen == [[50, 120]]  # means of two neighbours: no wider filter


class Interpreter:
    """LiteRT of a file that adds 1 to the first picture's red values, as int8."""

    def __init__(self, dtype, quantization):
        self.input = {"index": 0, "shape": np.array([2, 1, 2, 3]), "dtype": dtype, "quantization": quantization}
        self.taken = None

    def get_input_details(self):
        return [self.input]

    def get_output_details(self):
        return [{"index": 9, "shape": np.array([2, 1, 2, 2]), "dtype": np.int8, "quantization": (0.5, -3)}]

    def set_tensor(self, index, value):
        assert (index, value.shape, value.dtype) == (0, (2, 1, 2, 3), self.input["dtype"])
        self.taken = value

    def invoke(self):
        assert self.taken is not None

    def get_tensor(self, index):
        assert index == 9
        return np.array([[[[7, -3], [-128, 127]]], [[[0, 0], [0, 0]]]], np.int8)


@pytest.mark.parametrize(
    ("dtype", "quantization", "expected"),
    [
        (np.float32, (0.0, 0), [0.0, 255.0]),
        (np.uint8, (0.0, 0), [0, 255]),
        (np.uint8, (1.0, 0), [0, 255]),
        (np.int8, (1.0, -128), [-128, 127]),
        (np.uint8, (2.0, 10), [10, 138]),  # 255 / 2 = 127.5, to even
        (np.int8, (0.5, 0), [0, 127]),  # 510 is cut off
    ],
)
def test_inputs_are_quantized_and_integer_outputs_dequantized(tmp_path, monkeypatch, dtype, quantization, expected):
    interpreter = Interpreter(dtype, quantization)
    monkeypatch.setattr(inference, "load_interpreter", lambda model, threads: interpreter)
    path = tmp_path / "int8.tflite"
    path.write_bytes(attach_metadata(b"TFL3", metadata(ExportSpec((32, 32), batch=2))))
    picture = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    logits = load(path).network(picture)
    np.testing.assert_array_equal(interpreter.taken[:, 0, :, 0], [expected, expected])
    np.testing.assert_array_equal(logits, [[[[5.0, 0.0], [-62.5, 65.0]]]])
    assert logits.dtype == np.float32


def test_what_cannot_be_loaded_is_named(tmp_path, workdir):
    (tmp_path / "plain.tflite").write_bytes(b"TFL3 of somebody else")
    (tmp_path / "broken.tflite").write_bytes(attach_metadata(b"no model", metadata(ExportSpec(SIZE))))
    (tmp_path / "run").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.json").write_text("[]")
    for name, message in (
        ("nothing", "nothing: no such file or folder"),
        ("plain.tflite", "plain.tflite: no metadata"),
        ("broken.tflite", "broken.tflite: LiteRT cannot run this file"),
        ("run", "run: no finished fine-tuning there"),
        ("old", "old: config.json or results.json is not of this version"),
    ):
        with pytest.raises(UserError, match=message) as error:
            load(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("image", "form", "remedy"),
    [
        ("a.png", "str", PILLOW_TO_ARRAY),
        (Image.new("RGBA", (4, 4)), "a Pillow picture of mode RGBA", PILLOW_TO_ARRAY),
        (np.zeros((4, 4), np.uint8), "uint8[4, 4]", PILLOW_TO_ARRAY),
        (np.zeros((4, 4, 4), np.uint8), "uint8[4, 4, 4]", PILLOW_TO_ARRAY),
        (np.zeros((4, 4, 3), np.float32), "float32[4, 4, 3]", ""),
        (np.zeros((0, 4, 3), np.uint8), "uint8[0, 4, 3]", ""),
    ],
)
def test_what_is_no_picture_is_described(image, form, remedy):
    with pytest.raises(UserError, match=re.escape(f"not {form}")) as error:
        check_image(image)
    assert str(error.value).endswith(remedy or form)


def test_the_remedy_for_other_pictures_makes_one():
    for picture in (Image.new("RGBA", (4, 5)), Image.new("P", (4, 5)), Image.fromarray(np.zeros((5, 4), np.uint8))):
        check_image(eval(PILLOW_TO_ARRAY.removesuffix(" makes one"), {"np": np, "picture": picture}))


@pytest.mark.parametrize("threads", [0, -5])
def test_threads_are_at_least_one(tmp_path, threads):
    with pytest.raises(UserError, match=f"threads is {threads}: it must be at least 1"):
        load(tmp_path, threads)


def test_importing_the_package_is_cheap_and_load_is_there():
    code = (
        "import sys, rtseg_jax; assert 'jax' not in sys.modules and 'numpy' not in sys.modules; "
        "from rtseg_jax import load; import rtseg_jax.inference as i; assert load is i.load is rtseg_jax.load; "
        "assert 'tensorflow' not in sys.modules and not hasattr(rtseg_jax, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
