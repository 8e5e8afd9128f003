"""A search gives the same numbers on every mesh; computed in a process with eight devices, see `eight_devices.py`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SECONDS = 900  # after which a process that hangs is given up


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Arrays by name, of each mesh, of each search."""
    path = tmp_path_factory.mktemp("meshes") / "results.npz"
    script = Path(__file__).with_name("eight_devices.py")
    subprocess.run([sys.executable, script, path], check=True, env=dict(os.environ), timeout=SECONDS)
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for key, value in np.load(path).items():
        part, mesh, name = key.split("/", 2)
        found.setdefault(part, {}).setdefault(mesh, {})[name] = value
    return found


TOLERANCE = {".opt_state": 2e-2, ".arch.samples": 2e-2, ".arch.widths": 1e-3, ".arch.paths": 1e-3}
"""Of what is not held to 1e-5: gradients of single steps, in which a pixel on the edge of a ReLU counts or does not."""


def kind(name):
    """Weights are of one kind, statistics of another: some are zero but for rounding, and alone no measure."""
    return name.split("[", 1)[0]


@pytest.mark.xdist_group("meshes")
@pytest.mark.parametrize(
    ("rule", "mesh"), [("worth", "data"), ("worth", "spatial"), ("worth", "fsdp"), ("published", "all")]
)
def test_ten_steps_of_a_search_agree_with_one_device(results, rule, mesh):
    """Losses, weights, momentum, statistics and what is learned of channels; the published one in microbatches."""
    found, expected = results[rule][mesh], results[rule]["one"]
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-5)
    np.testing.assert_array_equal(found["kept"], expected["kept"])
    largest: dict[str, float] = {}
    for name, value in expected.items():
        largest[kind(name)] = max(largest.get(kind(name), 0.0), float(np.abs(value).max()))
    for name in sorted(found):
        tolerance = TOLERANCE.get(kind(name), 1e-5) * largest[kind(name)]
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.xdist_group("meshes")
@pytest.mark.parametrize(("rule", "updates"), [("worth", 10), ("published", 5)])
def test_the_search_moves_what_is_compared(results, rule, updates):
    one = results[rule]["one"]
    assert len(set(one["losses"].tolist())) == 10
    assert updates in [int(value) for name, value in one.items() if name.endswith(".count")]


@pytest.mark.xdist_group("meshes")
def test_confusion_matrices_are_equal_with_a_ragged_last_batch(results):
    expected = results["scores"]["one"]["confusion"]
    np.testing.assert_array_equal(results["scores"]["all"]["confusion"], expected)
    pixels = 2 * (35 + 36 + 192 + 35 + 600) + 35  # eleven pictures of five sizes, a quarter of them void
    assert 0.7 * pixels < expected.sum() < 0.8 * pixels


@pytest.mark.xdist_group("meshes")
def test_logits_are_resized_without_a_device_that_has_all_rows(results):
    """Two pictures on a device: all rows of 64×64 logits of three float32 are as much as the bound."""
    assert results["resize"]["spatial"]["exchanged"] < 2 * 64 * 64 * 3 * 4
