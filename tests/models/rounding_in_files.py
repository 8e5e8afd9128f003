"""How far floats, and floats rounded as integers, are from files of integers; in a process of its own.

Usage: python rounding_in_files.py FOLDER, which gets a file of findings.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers.filling import random_variables

from rtseg_jax.architecture import Block, Builder, Network, Tensor, declare
from rtseg_jax.architecture.builder import fixed
from rtseg_jax.architecture.extents import IMAGE
from rtseg_jax.export import integer, tflite
from rtseg_jax.export.interpreter import inputs_in_order, load_interpreter
from rtseg_jax.export.parity import TFLiteFunction
from rtseg_jax.export.spec import FLOAT_ATTENTION, INT8, ExportSpec
from rtseg_jax.models import SegmentationNetwork, rounding
from rtseg_jax.models.network import BlockModule
from rtseg_jax.models.normalization import IMAGE_MEAN, IMAGE_STD, normalize
from rtseg_jax.models.rounding import FLOATS, Integers
from rtseg_jax.zoo import RTSeg

SIZE = (32, 64)
BLOCKS = ("stem", "stage16_1_mhsa", "context", "aggregation")
INPUTS = 4


def distances(file: np.ndarray, step: float, **found: np.ndarray) -> dict:
    """Root of the mean square of differences, in steps of the file's output."""
    return {name: float(np.sqrt(np.mean((file - values) ** 2)) / step) for name, values in found.items()}


def with_ranges_of_floats(compute: Callable[[Any], Any], given: Any) -> Any:
    """What rounded numbers give in the ranges that floats have, which are those of a file's calibration."""
    ranges: list = []
    own, names = rounding.range_of, ("range_of", "round_map", "round_kernel")
    kept = {name: getattr(rounding, name) for name in names}

    def recorded(x):
        ranges.append(own(x))
        return ranges[-1]

    def calibrated(given):
        compute(given)
        return list(ranges)

    rounding.range_of, rounding.round_map, rounding.round_kernel = recorded, lambda x, *_: x, lambda kernel: kernel
    replayed = iter(jax.jit(calibrated)(given))
    for name in names:
        setattr(rounding, name, kept[name])
    rounding.range_of = lambda x: next(replayed)
    found = jax.jit(functools.partial(compute))(given)
    rounding.range_of = own
    assert next(replayed, None) is None
    return found


def small_network() -> Network:
    """A convolution, an inverted residual, a classifier."""
    image = Tensor("image", (fixed("image", 3),), IMAGE)
    b = Builder("stem", "conv", "detail")
    b.conv("conv", image, b.group("out", 8), stride=2, activation="relu")
    stem = b.build()
    b = Builder("residual", "lir", "segment")
    y = b.conv("expand", stem.output, b.group("expand", 24), kernel=1, activation="relu")
    y = b.conv("project", b.conv("depthwise", y), stem.output.groups[0], kernel=1)
    b.sum("sum", stem.output, y, activation="relu")
    residual = b.build()
    b = Builder("head", "head", "head")
    y = b.conv("classifier", residual.output, fixed("classes", 3), kernel=1, bias=True, norm=False)
    b.resize("logits", y, image)
    return Network(image, (stem, residual, b.build()))


def of_network() -> dict:
    """On the very pictures that the file is calibrated on, as one batch."""
    network = small_network()
    variables = random_variables(network)
    pictures = np.random.default_rng(0).integers(0, 256, (integer.FEWEST_PICTURES, *SIZE, 3)).astype(np.uint8)
    spec = ExportSpec(SIZE, quantize=INT8, input="uint8")
    model = integer.Calibrated(network, variables, spec, (IMAGE_MEAN, IMAGE_STD), pictures).convert()
    file = TFLiteFunction(model)
    found = np.concatenate([file(picture[None]) for picture in pictures])

    def logits(numbers, pictures) -> jax.Array:
        module = SegmentationNetwork(network, lowering="cpu", numbers=numbers)
        return module.apply(variables, normalize(pictures, numbers))["logits"]

    step = step_of_logits(model)
    calibrated = with_ranges_of_floats(lambda x: logits(Integers(), x), pictures)
    floats, rounded = (jax.jit(functools.partial(logits, numbers))(pictures) for numbers in (FLOATS, Integers()))
    return distances(found, step, floats=floats, rounded=rounded, calibrated=calibrated)


def step_of_logits(model: bytes) -> float:
    """Of the numbers that become floats before they are interpolated."""
    interpreter = load_interpreter(model, keep_every_tensor=True)
    *_, before, last = interpreter._get_ops_details()
    assert (before["op_name"], last["op_name"]) == ("DEQUANTIZE", "RESIZE_BILINEAR")
    steps = {detail["index"]: detail["quantization"][0] for detail in interpreter.get_tensor_details()}
    return float(steps[before["inputs"][0]])


def operators_of(names: tuple[str, ...]) -> dict[str, Block]:
    """A block for each operator of the named ones."""
    network = declare(RTSeg(num_classes=3, width=0.25, segment_blocks=(1, 1, 1)))
    every = {block.name: block for block in network.plain_blocks}
    found = [(f"{name}.{op.name}", every[name], op) for name in names for op in every[name].ops]
    return {name: Block(name.replace(".", "_"), block.kind, block.part, (op,)) for name, block, op in found}


def of_operators(blocks: dict[str, Block], quantize: str) -> dict:
    """Each operator alone, all in one file; what they read is rounded alike."""
    variables = {name: tflite.random_variables(block) for name, block in blocks.items()}
    tensors = list(dict.fromkeys(tensor for block in blocks.values() for tensor in block.inputs))
    generator = np.random.default_rng(0)
    shapes = [(1, *tensor.size(SIZE), tensor.channels) for tensor in tensors]
    inputs = [[generator.standard_normal(shape, np.float32) for shape in shapes] for _ in range(INPUTS)]

    def outputs(lowering, numbers, given) -> tuple:
        values = {tensor: numbers.held(x) for tensor, x in zip(tensors, given, strict=True)}
        modules = {name: BlockModule(block, jnp.float32, lowering, numbers=numbers) for name, block in blocks.items()}
        return tuple(
            module.apply(variables[name], [values[tensor] for tensor in blocks[name].inputs], None, train=False)
            for name, module in modules.items()
        )

    def function(*given):
        return outputs("export", FLOATS, given)

    model = integer.convert_integers(function, shapes, inputs, quantize=quantize, integer_borders=True)
    steps, files = run_integers(model, inputs)
    batch = [np.concatenate(arrays) for arrays in zip(*inputs, strict=True)]
    integers = Integers(quantize == INT8)
    found = {
        "floats": jax.jit(lambda x: outputs("cpu", FLOATS, x))(batch),
        "rounded": jax.jit(lambda x: outputs("cpu", integers, x))(batch),
        "calibrated": with_ranges_of_floats(lambda x: outputs("cpu", integers, x), batch),
    }
    return {
        name: distances(file, step, **{kind: np.asarray(values[at]) for kind, values in found.items()})
        for at, (name, step, file) in enumerate(zip(blocks, steps, files, strict=True))
    }


def of_dead_channels() -> dict:
    """A convolution whose activation is 0 for every picture, and one behind it that adds 2."""
    generator = np.random.default_rng(0)
    kernels = [jnp.asarray(generator.standard_normal((3, 3, *ends)), jnp.float32) for ends in ((8, 4), (4, 3))]
    convolve = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

    def function(x):
        return convolve(jax.nn.relu(convolve(x, kernels[0]) - 1e3), kernels[1]) + 2.0

    x = generator.standard_normal((1, 8, 16, 8), np.float32)
    return {"values": np.unique(TFLiteFunction(integer.convert_integers(function, [x.shape], [[x]]))(x)).tolist()}


def run_integers(model: bytes, inputs: list[list[np.ndarray]]) -> tuple[list[float], list[np.ndarray]]:
    """Steps and values of all outputs of a file whose inputs and outputs are integers."""
    interpreter = load_interpreter(model)
    given = inputs_in_order(interpreter)
    made = sorted(interpreter.get_output_details(), key=lambda detail: (len(detail["name"]), detail["name"]))
    rows = []
    for arrays in inputs:
        for detail, array in zip(given, arrays, strict=True):
            step, zero_point = detail["quantization"]
            codes = np.clip(np.round(array / step) + zero_point, -128, 127).astype(np.int8)
            interpreter.set_tensor(detail["index"], codes)
        interpreter.invoke()
        codes = [interpreter.get_tensor(detail["index"]).astype(np.float32) for detail in made]
        rows.append([(x - d["quantization"][1]) * d["quantization"][0] for x, d in zip(codes, made, strict=True)])
    return [d["quantization"][0] for d in made], [np.concatenate(column) for column in zip(*rows, strict=True)]


def main() -> None:
    blocks = operators_of(BLOCKS)
    attention = {name: block for name, block in blocks.items() if name.endswith(".attention")}
    found = {
        "network": of_network(),
        "operators": of_operators(blocks, INT8),
        "dead": of_dead_channels(),
        "float_attention": of_operators(attention, FLOAT_ATTENTION),
    }
    (Path(sys.argv[1]) / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
