"""Rounding by hand, and against the files of integers that it stands for."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import processes
from helpers.operator_cases import X

from rtseg_jax.architecture import Builder
from rtseg_jax.models.rounding import Integers, passed_on, round_kernel, round_map, round_shares

pytestmark = pytest.mark.xdist_group("rounded")


def test_maps_by_hand():
    least, largest = jnp.float32(-1.004), jnp.float32(1.546)  # steps of 0.01; zero is code 100.4, and so 100
    x = jnp.array([-1.004, 0.0, 0.304, 0.306, 1.546, 9.0, -9.0])
    np.testing.assert_allclose(round_map(x, least, largest), [-1.0, 0, 0.3, 0.31, 1.55, 1.55, -1.0], atol=1e-6)
    held = Integers().held(jnp.array([[1.01, 2.0], [1.5, 1.99]]))  # from zero on: steps of 2/255
    np.testing.assert_allclose(held, np.array([[129, 255], [191, 254]]) * 2 / 255, rtol=1e-6)
    np.testing.assert_array_equal(Integers().held(jnp.zeros((2, 3))), np.zeros((2, 3)))
    np.testing.assert_allclose(round_shares(jnp.array([0.0, 0.3, 1.0])), np.array([0, 77, 255]) / 256, rtol=1e-6)


def test_kernels_by_hand():
    kernel = jnp.array([[1.27, 0.0], [-0.014, 0.0], [0.006, 0.0]]).reshape(1, 3, 1, 2)  # one channel is all zero
    expected = np.array([[1.27, 0.0], [-0.01, 0.0], [0.01, 0.0]]).reshape(1, 3, 1, 2)
    np.testing.assert_allclose(round_kernel(kernel), expected, atol=1e-6)


def test_gradients_pass_as_if_nothing_were_rounded():
    x, factors = jnp.linspace(-1.0, 3.0, 12).reshape(1, 2, 2, 3), jnp.arange(12.0).reshape(1, 2, 2, 3)
    for rounded in (Integers().held, round_kernel, round_shares, Integers().positive):
        gradient = jax.grad(lambda x, f=rounded: jnp.sum(factors * f(x)))(jnp.abs(x) if rounded != round_kernel else x)
        np.testing.assert_array_equal(gradient, factors)


def test_what_a_convolution_takes_in_is_not_rounded():
    b = Builder("block", "case", "segment")
    y = b.conv("bare", X, b.group("out", 8), norm=False)
    y = b.norm("norm", y)
    y = b.activate("relu", y, "relu")
    z = b.conv("wide", y, b.group("wide", 8), norm=False)
    b.sum("sum", b.activate("gelu", z, "gelu"), b.conv("other", y, b.group("wide", 8)))
    assert {tensor.name for tensor in passed_on(b.build())} == {"block.bare", "block.norm"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounded")
    processes.run(Path(__file__).with_name("rounding_in_files.py"), folder)
    return processes.findings(folder)


def test_in_the_ranges_of_its_calibration_every_operator_gives_the_numbers_of_the_file(found):
    """Bounds in steps of the output, where floats are off by 0.29 at least: that much is rounding alone.

    What is left is codes that fall to the other side of a half, one in some hundred: 0.1. An interpolation is rounded
    before the last bit of its shares is known. Otherwise are a concatenation, whose inputs a file has in the steps of
    the whole from the start, and batch norm on its own, which is a difference, a product and a sum in a file.
    """
    rows = {**found["operators"], "float attention": found["float_attention"]["stage16_1_mhsa.attention"]}
    otherwise = {"stem.concat": 0.4, "context.mean_norm": 0.7, "stage16_1_mhsa.attention": 0.2}
    otherwise |= dict.fromkeys(("aggregation.segment_up", "aggregation.gated_up"), 0.3)
    off = {name: row["calibrated"] for name, row in rows.items() if row["calibrated"] > otherwise.get(name, 0.1)}
    assert off == {}
    assert all(row["floats"] > 0.25 for row in rows.values())


def test_in_their_own_ranges_operators_are_half_as_far_from_the_file_as_floats_are(found):
    """A batch of rounded numbers ends a little elsewhere than one of floats, which moves steps and so the halves."""
    rows = [row for name, row in found["operators"].items() if name not in ("stem.concat", "context.mean_norm")]
    assert np.mean([row["rounded"] / row["floats"] for row in rows]) < 0.6


def test_a_network_on_the_pictures_of_its_calibration_is_the_file(found):
    """Codes that differ by one make others differ behind them: 0.22 steps where floats are off by 1.21."""
    row = found["network"]
    assert row["calibrated"] < 0.4
    assert row["calibrated"] < row["floats"] / 3
    assert row["rounded"] < row["floats"]


def test_what_is_0_everywhere_is_no_hindrance(found):
    """LiteRT refused such files: the smallest range made a convolution's step 10,000 times that of its products."""
    assert found["dead"]["values"] == [2.0]
