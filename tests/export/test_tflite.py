"""Exported blocks and networks against the native lowering, and what stands in the files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import processes
from helpers.operator_cases import CASES as CASES_OF_OPERATORS

from rtseg_jax.export.spec import LEAST_WEIGHTS

pytestmark = pytest.mark.xdist_group("converted")  # one worker makes what all of them look at

KINDS = (
    "conv",
    "stem",
    "downsample",
    "lir",
    "mhsa_patch2",
    "mhsa",
    "context",
    "aggregation",
    "head",
    "gather_expansion",
    "gather_expansion_down",
)
CASES = (*(f"{kind}-33x65" for kind in KINDS), "mhsa_patch2-32x64")
NETWORKS = ("supernet-32x64", "searched-33x65", "normalized-32x64")


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("converted")
    processes.run(Path(__file__).with_name("converting.py"), folder)
    return processes.findings(folder)


def test_every_case_was_converted(found: dict):
    assert set(found["blocks"]) == set(CASES)
    assert set(found["networks"]) == set(NETWORKS)


@pytest.mark.parametrize("case", CASES)
def test_blocks_equal_the_native_lowering(found: dict, case: str):
    assert found["blocks"][case]["difference"] < 1e-5


def test_operators_equal_the_native_lowering(found: dict):
    differences = found["operators"]["differences"]
    assert set(differences) == set(CASES_OF_OPERATORS)
    assert {name: value for name, value in differences.items() if value > 1e-5} == {}
    # The mark of a resize is known to phones only where the converter made an operator of it.
    assert found["operators"]["operators"]["RESIZE_BILINEAR"] == 3
    assert "STABLEHLO_COMPOSITE" not in found["operators"]["operators"]


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_equal_the_native_lowering(found: dict, case: str):
    # Random weights let rounding grow from layer to layer; single blocks are held to 1e-5.
    parity = found["networks"][case]
    assert parity["pictures"] == 2
    assert parity["max_difference"] < 1e-4
    assert parity["pixel_agreement"] > 0.999


@pytest.mark.parametrize("case", [*CASES, *NETWORKS, "operators"])
def test_both_converters_write_the_same(found: dict, case: str):
    both = (found["blocks"] | found["networks"] | {"operators": found["operators"]})[case]["both"]
    assert both["failures"] == []
    assert both["difference"] < 1e-6
    # Only a mean over pixels is written in another way, see benchmarks.converters.EXPLAINED.
    assert both["explained"] == (["MEAN"] if case in (*NETWORKS, "context-33x65", "operators") else [])


def test_blocks_of_sweeps_hold_the_numbers_that_they_are_asked_for(found: dict):
    numbers = found["numbers"]  # of an LIR block: four kernels
    assert numbers["weights"] == {
        "none": {"FLOAT32": 4},
        "fp16": {"FLOAT16": 4},
        "dynamic": {"INT8": 3, "FLOAT32": 1},  # the depthwise one
        "int8": {"INT8": 4},
    }
    floats = {name: ["float32", "float32"] for name in ("none", "fp16", "dynamic")}
    assert numbers["borders"] == {**floats, "int8": ["int8", "int8"]}


def test_small_kernels_keep_floats_in_dynamic_files(found: dict):
    """Which is what predictors assume of `LEAST_WEIGHTS`."""
    assert found["numbers"]["by_weights"] == {"1008": {"FLOAT32": 1}, "1026": {"INT8": 1}}
    assert 1008 < LEAST_WEIGHTS <= 1026


def test_weights_of_8_bits_where_they_are_fast(found: dict):
    """Floats elsewhere, which still are what 8 bits hold: at most half a step from what they were."""
    weights = found["numbers"]["dynamic"]
    assert {name: row["types"] for name, row in weights.items()} == {
        "CONV_2D": ["INT8"],
        "DEPTHWISE_CONV_2D": ["FLOAT32"],
        "TRANSPOSE_CONV": ["FLOAT32"],
    }
    assert all(0.4 < row["apart"] <= 0.5001 for row in weights.values())


def test_blocks_of_integers_pay_for_no_conversion_at_their_borders(found: dict):
    operators = found["numbers"]["operators"]
    assert operators["int8"] == operators["none"]  # no QUANTIZE, no DEQUANTIZE
    assert found["numbers"]["apart"] == 0.0


def test_products_of_attention_stay_in_floats_by_choice(found: dict):
    assert found["numbers"]["attention"] == {
        "int8": {"BATCH_MATMUL": ["INT8"], "SOFTMAX": ["INT8"], "CONV_2D": ["INT8"]},
        "int8_float_attention": {"BATCH_MATMUL": ["FLOAT32"], "SOFTMAX": ["FLOAT32"], "CONV_2D": ["INT8"]},
    }


def test_the_range_of_an_addend_is_not_that_of_the_sum(found: dict):
    """The sum is written into the addend's memory, which TensorFlow's calibrator looks at: [−100.5, 100.5]."""
    np.testing.assert_allclose(found["numbers"]["addend"], [-0.5, 0.5], atol=0.5 / 127)


def test_networks_of_integer_sweeps_are_those_that_are_exported(found: dict):
    assert found["numbers"]["network_alike"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("conv-33x65", {"CONV_2D": 1}),
        ("stem-33x65", {"CONV_2D": 4, "MAX_POOL_2D": 1, "CONCATENATION": 1}),
        ("downsample-33x65", {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 3, "ADD": 1}),
        ("lir-33x65", {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 1, "ADD": 1}),
        ("head-33x65", {"CONV_2D": 2, "RESIZE_BILINEAR": 1}),
        (
            "aggregation-33x65",
            {"DEPTHWISE_CONV_2D": 3, "CONV_2D": 5, "RESIZE_BILINEAR": 2, "LOGISTIC": 2, "MUL": 2, "ADD": 1},
        ),
        ("gather_expansion-33x65", {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "ADD": 1}),
    ],
)
def test_batch_norm_and_activations_fold_away(found: dict, case: str, expected: dict):
    assert found["blocks"][case]["operators"] == expected


def test_depatching_is_one_operator_whose_batch_norm_folds(found: dict):
    even, odd = (found["blocks"][f"mhsa_patch2-{size}"]["operators"] for size in ("32x64", "33x65"))
    assert even["TRANSPOSE_CONV"] == 1
    assert even["SUB"] == 2  # those of the two layer norms
    assert odd == even | {"SLICE": 1}  # the crop
    assert even["GELU"] == even["SOFTMAX"] == 1


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_hold_no_operator_that_phones_refuse(found: dict, case: str):
    contents = found["networks"][case]
    assert contents["operators"]["RESIZE_BILINEAR"] == 3
    assert contents["highest_rank"] == 4
    assert not {name for name in contents["operators"] if name.startswith("STABLEHLO")}
    refused = {"PAD", "PADV2", "BROADCAST_TO", "GATHER", "GATHER_ND", "AVERAGE_POOL_2D", "CUSTOM", "WHILE"}
    assert not refused & set(contents["operators"])


def test_supernet_keeps_every_convolution_and_depatching(found: dict):
    operators = found["networks"]["supernet-32x64"]["operators"]
    assert operators["TRANSPOSE_CONV"] == 1  # patches of one pixel are plain convolutions
    assert operators["SOFTMAX"] == 3
    assert operators["DEPTHWISE_CONV_2D"] == 3 * 3 + 3 + 3


def test_normalization_in_the_graph_is_a_convolution(found: dict):
    plain, normalized = (found["networks"][case]["operators"] for case in ("searched-33x65", "normalized-32x64"))
    more = {name: normalized.get(name, 0) - plain.get(name, 0) for name in ("CONV_2D", "ADD", "SUB", "MUL", "DIV")}
    assert more == {"CONV_2D": 1, "ADD": 0, "SUB": 0, "MUL": 0, "DIV": 0}
    assert "SELECT_V2" not in normalized  # as a kernel that is no constant would have


def test_importing_the_package_leaves_tensorflow_alone():
    code = (
        "import sys, rtseg_jax.latency, rtseg_jax.latency.child, rtseg_jax.export.tflite, rtseg_jax.latency.sweep;"
        "print('tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
