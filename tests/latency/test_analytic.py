"""Modelled devices, on files small enough to count by hand, and a sweep of one in a child process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from synthetic import CARD

from rtseg_jax.config import base_config, run_spec
from rtseg_jax.describe import describe
from rtseg_jax.errors import UserError
from rtseg_jax.export.flatbuffer import packed
from rtseg_jax.latency import LatencyModel, unit_of_device
from rtseg_jax.latency.devices import make_backend
from rtseg_jax.latency.devices.analytic import DEVICE_FILES, Device, Work, graph_work
from rtseg_jax.latency.predictor import check_card
from rtseg_jax.search.cost import Target
from rtseg_jax.search.decide import check_reachable
from rtseg_jax.training.outcome import print_table
from rtseg_jax.training.progress import status_line
from rtseg_jax.visualization import plots

Operator, Type = schema.BuiltinOperator, schema.TensorType
EXACT = Device("exact", "powers of two", peak=1024 / 1e6, bandwidth=256 / 1e6, overhead=0.25, slice=4, number=2)


def tflite(tensors: list[tuple[Any, ...]], operators: list[tuple[Any, ...]]) -> bytes:
    """A file of tensors (shape, type, whether the file holds its values) and operators (code, inputs, outputs)."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    empty, held = schema.BufferT(), schema.BufferT()
    held.data = np.ones(4, np.uint8)
    graph.tensors, graph.operators, codes = [], [], []
    for shape, kind, constant in tensors:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer, tensor.name = shape, kind, int(constant), f"t{len(graph.tensors)}"
        graph.tensors.append(tensor)
    for code, inputs, outputs, *options in operators:
        opcode, operator = schema.OperatorCodeT(), schema.OperatorT()
        opcode.builtinCode, opcode.deprecatedBuiltinCode, opcode.version = code, min(code, 127), 1
        operator.opcodeIndex, operator.inputs, operator.outputs = len(codes), inputs, outputs
        if options:
            operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.BatchMatMulOptions, options[0]
        codes.append(opcode)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], [empty, held]
    return packed(model)


THREE = tflite(
    [
        ([1, 4, 4, 3], Type.FLOAT32, False),
        ([5, 3, 3, 3], Type.FLOAT32, True),
        ([5], Type.FLOAT32, True),
        ([1, 4, 4, 5], Type.FLOAT32, False),
        ([2], Type.INT32, True),
        ([16, 5], Type.FLOAT32, False),
        ([2, 5], Type.FLOAT16, True),
        ([16, 2], Type.FLOAT32, False),
    ],
    [(Operator.CONV_2D, [0, 1, 2], [3]), (Operator.RESHAPE, [3, 4], [5]), (Operator.FULLY_CONNECTED, [5, 6, -1], [7])],
)


def test_three_operators_by_hand():
    # 3 channels are stored as 4, 5 as 8, 2 as 4. The convolution reads 16·4, 8·9·4 and 8 numbers and writes 16·8.
    convolution = Work(16 * 9 * 4 * 8, 2 * (64 + 288 + 8 + 128))
    reshape = Work(0, 2 * (128 + 128))  # the shape that it is told is no data
    dense = Work(16 * 8 * 4, 2 * (128 + 4 * 8 + 64))
    assert graph_work(THREE, 4, 2) == (convolution, reshape, dense)
    # Arithmetic decides the first, 4608 / 1024; memory the others, 512 / 256 and 448 / 256.
    assert EXACT.milliseconds((convolution, reshape, dense)) == 4.5 + 2.0 + 1.75 + 3 * 0.25


def test_without_slices_channels_count_as_they_are():
    work = graph_work(THREE, 1, 4)
    assert [op.macs for op in work] == [16 * 9 * 3 * 5, 0, 16 * 5 * 2]
    assert [op.bytes for op in work] == [4 * (48 + 135 + 5 + 80), 4 * 160, 4 * (80 + 10 + 32)]


def adjoint(x: bool) -> Any:
    options = schema.BatchMatMulOptionsT()
    options.adjX = x
    return options


@pytest.mark.parametrize(
    ("shapes", "operator", "macs"),
    [
        # 5 channels as 8, at every pixel of the output; each channel by itself
        ([(1, 8, 8, 5), (1, 3, 3, 5), (1, 4, 4, 5)], (Operator.DEPTHWISE_CONV_2D, [0, 1], [2]), 16 * 9 * 8),
        # every pixel of the input, 2×2, becomes 2×2 pixels; the first operand is the size of the output
        ([(4,), (3, 2, 2, 5), (1, 2, 2, 5), (1, 4, 4, 3)], (Operator.TRANSPOSE_CONV, [0, 1, 2], [3]), 4 * 4 * 8 * 4),
        # two heads: 6×5 by 5×3, then 9×5 by 5×3 with the first operand turned
        ([(1, 2, 6, 5), (1, 2, 5, 3), (1, 2, 6, 3)], (Operator.BATCH_MATMUL, [0, 1], [2], adjoint(False)), 12 * 8 * 4),
        ([(1, 2, 5, 9), (1, 2, 5, 3), (1, 2, 9, 3)], (Operator.BATCH_MATMUL, [0, 1], [2], adjoint(True)), 18 * 8 * 4),
        ([(1, 4, 4, 5), (1, 4, 4, 5), (1, 4, 4, 5)], (Operator.ADD, [0, 1], [2]), 0),
    ],
)
def test_multiply_accumulates_of_every_kind_of_product(shapes: list, operator: tuple, macs: int):
    file = tflite([(list(shape), Type.FLOAT32, False) for shape in shapes], [operator])
    assert [op.macs for op in graph_work(file, 4, 2)] == [macs]


def test_integers_that_are_data_are_moved_in_their_own_size():
    file = tflite([([1, 4], Type.INT8, False), ([1, 5], Type.INT32, False)], [(Operator.CAST, [0], [1])])
    assert [op.bytes for op in graph_work(file, 4, 2)] == [4 + 4 * 8]


@pytest.mark.parametrize("name", ["analytic", "adreno660"])
def test_cards_of_shipped_devices_say_modelled(name: str):
    backend = make_backend(name, 1, 15)
    card = backend.card()
    assert card["statistic"] == "modelled"
    assert "modelled" in card["device"]
    check_card({**CARD, **card, "image_size": [64, 128]}, name)
    assert unit_of_device(name) == LatencyModel({}, (), card, {}).unit == "modelled ms"
    constants = json.loads(DEVICE_FILES[name].read_text())["constants"]
    assert f"{constants['overhead']['value']:g} ms per operator" in card["runtime"]  # other constants, another card
    assert backend.measure(THREE) == backend.measure(THREE)
    expected = Device.load(DEVICE_FILES[name]).milliseconds(graph_work(THREE, 4, 2))
    assert (backend.measure(THREE).ms, backend.measure(THREE).noise) == (expected, 0.0)


def test_measured_figures_are_not_called_modelled():
    assert unit_of_device("host_cpu") == unit_of_device("jax") == LatencyModel({}, (), CARD, {}).unit == "ms"


def changed(constant: str, field: str, value: Any) -> dict:
    shipped = json.loads(DEVICE_FILES["analytic"].read_text())
    shipped["constants"][constant][field] = value
    return shipped


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("peak", "unit", "GFLOP/s"), "peak must be in GMAC/s"),
        (changed("slice", "source", ""), "slice must be in channels and name a source"),
        (changed("bandwidth", "value", 0), "not positive"),
        (changed("overhead", "value", -1.0), "not positive"),
        (changed("number", "value", None), "not a device's constants|not positive"),
        ({"description": "x", "constants": {}}, "not a device's constants .KeyError"),
    ],
)
def test_constants_without_unit_or_source_are_refused(tmp_path: Path, content: dict, message: str):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        Device.load(tmp_path / "x.json")


def test_whatever_shows_modelled_figures_says_so(capsys: pytest.CaptureFixture):
    print_table([], Target(2.0, "modelled ms"), "modelled ms")
    printed = " ".join(capsys.readouterr().out.split())
    assert "Target 2.00 modelled ms" in printed
    assert "measured" not in printed
    row = {"name": "a", "miou": 0.5, "latency_ms": 4.0, "latency_unit": "modelled ms"}
    labelled = plots.plot_results([row], 2.0, "ms")  # a target in other milliseconds is not drawn
    assert labelled.axes[0].get_xlabel() == "latency (modelled ms)"
    assert [text.get_text() for text in labelled.axes[0].texts] == ["a\n50.0 %, 4.00 modelled ms"]
    history = [{"phase": "search", "step": 1, "cost": 3.0}]
    assert plots.plot_cost(history, 2.0, "modelled ms").axes[0].get_ylabel() == "predicted latency (modelled ms)"
    step = {"steps_per_second": 1.0, "losses": {}, "cost": 3.0, "kept": {"stem": [1, 2]}}
    assert "latency 3.00/2.00 modelled ms" in status_line(step, None, Target(2.0, "modelled ms"))
    with pytest.raises(UserError, match=r"2\.000 modelled ms .* 3\.000 to 4\.000 modelled ms"):
        check_reachable(Target(2.0, "modelled ms"), (3.0, 4.0))
    config = base_config()
    config.latency.device = "adreno660"
    assert "modelled ms, at 512×1024 on adreno660" in describe(run_spec(config)).splitlines()[-1]


SWEEPS = """
import dataclasses, functools, json, sys
from pathlib import Path
from rtseg_jax.zoo import RTSeg
from rtseg_jax.export.operators import inspect
from rtseg_jax.latency import LatencySpec, backend, devices, sweep
from rtseg_jax.latency.devices.analytic import Analytic, Device
from rtseg_jax.latency.fitting import fit

device = Device("exact", "powers of two", 2**20 / 1e6, 2**18 / 1e6, 2.0**-5, 4, 2)
sweep.fit = functools.partial(fit, steps=10)
spec = LatencySpec(device="exact", num_blocks=5, num_networks=2, num_unseen=0, image_size=(32, 64))
network = RTSeg(num_classes=3, width=0.1, segment_blocks=(1, 0, 1))
convert, files, found = backend.FileBackend.build, {}, []

def build(self, subject):
    files[str(subject)] = convert(self, subject)
    return files[str(subject)]

def run(name, device):
    devices.SWEEP_BACKENDS["exact"] = lambda threads, runs: Analytic(device)
    model = sweep.sweep(network, spec, Path(sys.argv[1], name), lambda *progress: None).model
    rows = [json.loads(line) for line in Path(sys.argv[1], name, "measurements.jsonl").read_text().splitlines()]
    found.append({"ms": [row["timing"]["ms"] for row in rows], "predictor": str(Path(sys.argv[1], name)),
                  "summary": sweep.summary(model)})

backend.FileBackend.build = build
run("first", device)
run("second", device)
backend.FileBackend.build = lambda self, subject: files[str(subject)]
run("doubled", dataclasses.replace(device, overhead=2.0**-4))
counts = [sum(inspect(model).operators.values()) for model in files.values()]
print(json.dumps({"sweeps": found, "operators": counts}))
"""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = str(tmp_path_factory.mktemp("sweeps"))
    done = subprocess.run([sys.executable, "-c", SWEEPS, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_sweep_of_a_formula_gives_the_same_bits_again(sweeps: dict):
    first, second, _ = sweeps["sweeps"]
    assert len(first["ms"]) == 7
    assert first["ms"] == second["ms"]
    models = [LatencyModel.load(Path(sweep["predictor"])) for sweep in (first, second)]  # a folder names its predictor
    assert (
        json.loads((Path(first["predictor"]) / "predictor.json").read_text())["arrays"]
        == (json.loads((Path(second["predictor"]) / "predictor.json").read_text())["arrays"])
    )
    assert models[0].card["graphs"] == models[1].card["graphs"]
    assert models[0].card["graphs"].endswith("over 7 models")
    assert models[0].card["statistic"] == "modelled"
    assert models[0].card["noise"] == 0.0
    assert first["summary"].startswith("modelled ms of powers of two; relative errors")


def test_overhead_is_paid_once_per_operator(sweeps: dict):
    first, _, doubled = sweeps["sweeps"]
    delta = 2.0**-5
    assert min(sweeps["operators"]) > 0
    assert [b - a for a, b in zip(first["ms"], doubled["ms"], strict=True)] == [n * delta for n in sweeps["operators"]]
