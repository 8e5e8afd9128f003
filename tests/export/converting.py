"""Converts in a process of its own: TensorFlow must not enter the one that runs the tests, where warnings are errors.

Usage: python converting.py FOLDER, which gets a file of findings.
"""

import collections
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from helpers import operator_cases
from helpers.filling import block_variables

from benchmarks.converters import compare
from rtseg_jax.architecture import ArchSpec, Block, Group, Tensor, declare, declare_spec
from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Strided
from rtseg_jax.export import integer, operators, parity, tflite
from rtseg_jax.export.flatbuffer import unpacked
from rtseg_jax.export.heads import network_function
from rtseg_jax.export.interpreter import load_interpreter
from rtseg_jax.export.spec import FLOAT_ATTENTION, INTEGERS, LITERT, ExportSpec
from rtseg_jax.latency.sampling import living
from rtseg_jax.models.convolution import conv2d
from rtseg_jax.models.network import BlockModule
from rtseg_jax.zoo import BiSeNetV2, RTSeg
from rtseg_jax.zoo.bisenetv2 import conv_block

TINY = RTSeg(num_classes=3, width=0.25, segment_blocks=(1, 1, 1))
PLAIN = BiSeNetV2(num_classes=3, width=0.25, segment_blocks=(1, 1, 1))
SIZES = ((32, 64), (33, 65))
MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)
PATHS = ("mhsa", "skip", "lir")


def blocks() -> dict:
    """One block of every type, the two attention patch sizes apart."""
    result = {}
    for block in (*declare(TINY).plain_blocks, *declare(PLAIN).plain_blocks):
        patch = "_patch2" if block.name == "stage8_1_mhsa" else ""
        result.setdefault(block.kind + patch, block)
    return result


def by_both(model: bytes, other: bytes, inputs) -> dict:
    """How a file of jax2tf and one of LiteRT's converter differ."""
    failures, explained, difference = compare({"jax2tf": model, "litert": other}, inputs)
    return {"failures": failures, "explained": explained, "difference": difference}


def check_block(block, size: tuple[int, int]) -> dict:
    """Difference of an exported block from the native lowering, over the largest output, and what is in the file."""
    variables = tflite.random_variables(block)
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal(s, np.float32) for s in tflite.block_input_shapes(block, size)]
    model = tflite.convert_block(block, size, variables)
    module = BlockModule(block, jnp.float32, "native")
    expected = jax.jit(lambda inputs: module.apply(variables, inputs, None, train=False))(inputs)
    found = parity.run_tflite(model, *inputs)
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    both = by_both(model, tflite.convert_block(block, size, variables, LITERT), inputs)
    contents = dataclasses.asdict(operators.inspect(model))
    return {"difference": difference, "shape": list(found.shape), "both": both, **contents}


def check_network(network, size: tuple[int, int], normalization=None) -> dict:
    """Parity of an exported network with the native lowering."""
    variables = tflite.random_variables(network)
    model = tflite.convert_network(network, variables, ExportSpec(size), normalization)
    scale, shift = (1, 0) if normalization is None else (60, 120)
    pictures = np.random.default_rng(0).standard_normal((2, *size, 3), np.float32) * scale + shift
    native = network_function(network, variables, normalization, lowering="native")
    found = parity.compare(model, native, pictures)
    other = tflite.convert_network(network, variables, ExportSpec(size, converter=LITERT), normalization)
    both = by_both(model, other, [pictures[:1]])
    return {**dataclasses.asdict(found), "both": both, **dataclasses.asdict(operators.inspect(model))}


def check_operators() -> dict:
    """Every case of the operators' suite in one graph: the difference of each, over its largest output."""
    cases = {name: operator_cases.block_of(name) for name in operator_cases.CASES}
    tensors = list(dict.fromkeys(tensor for block in cases.values() for tensor in block.inputs))
    generator = np.random.default_rng(0)
    shapes = [(1, *tensor.size(operator_cases.SIZE), tensor.channels) for tensor in tensors]
    inputs = [generator.standard_normal(shape, np.float32) for shape in shapes]
    variables = {name: block_variables(block) for name, block in cases.items()}

    def outputs(lowering: str, given) -> list:
        values = dict(zip(tensors, given, strict=True))
        return [
            BlockModule(block, jnp.float32, lowering).apply(
                variables[name], [values[tensor] for tensor in block.inputs], None, train=False
            )
            for name, block in cases.items()
        ]

    def flat(*given):
        return jnp.concatenate([output.reshape(1, -1) for output in outputs("export", given)], 1)

    model = tflite.convert(flat, shapes)
    expected = jax.jit(lambda given: outputs("native", given))(inputs)
    ends = np.cumsum([output.size for output in expected])[:-1]
    found = np.split(parity.run_tflite(model, *inputs).reshape(-1), ends)
    differences = {
        name: float(np.abs(ours - output.reshape(-1)).max() / max(1e-6, np.abs(output).max()))
        for name, ours, output in zip(cases, found, expected, strict=True)
    }
    both = by_both(model, tflite.convert(flat, shapes, converter=LITERT), inputs)
    return {"differences": differences, "both": both, **dataclasses.asdict(operators.inspect(model))}


def check_numbers() -> dict:
    """A block and a network in the numbers of sweeps and of exports."""
    # Of kernels with fewer than 1024 numbers `dynamic` keeps the floats.
    wide = declare(RTSeg(num_classes=3, width=1.0, block="lir", segment_blocks=(1, 0, 0)))
    block = next(block for block in wide.plain_blocks if block.kind == "lir")
    patched = next(b for b in declare(RTSeg(num_classes=3, width=1.0)).plain_blocks if b.name == "stage8_1_mhsa")
    network, size = declare_spec(searched()), SIZES[1]
    files = {q: tflite.convert_block(block, size, quantize=q) for q in ("none", "fp16", "dynamic")}
    files["int8"] = integer.convert_random_block(block, size)
    # Calibrated on the same input, once with integers at its borders and once with numbers that it converts itself.
    (shape,) = tflite.block_input_shapes(block, size)
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    around = integer.convert_integers(tflite.block_function(block), [shape], [[noise]])
    attention = {q: integer.convert_random_block(blocks()["mhsa"], size, q) for q in INTEGERS}
    spec = ExportSpec(size, quantize=FLOAT_ATTENTION)
    variables = tflite.random_variables(network)
    of_sweeps = integer.convert_random_network(network, variables, spec, (MEAN, STD))
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype(np.uint8)
    pictures = np.repeat(picture, integer.FEWEST_PICTURES, 0)
    shipped = integer.Calibrated(network, variables, spec, (MEAN, STD), pictures).convert()
    return {
        "addend": addend_range(),
        "weights": {name: weight_types(model) for name, model in files.items()},
        "borders": {name: border_types(model) for name, model in files.items()},
        "operators": {name: operators.inspect(model).operators for name, model in files.items()},
        "apart": steps_apart(files["int8"], around, noise),
        "by_weights": {9 * i * o: dynamic_kernel(i, o) for i, o in ((7, 16), (6, 19))},
        "dynamic": {**dynamic_weights(block, size), **dynamic_weights(patched, size)},
        "attention": {q: output_types(model, ("BATCH_MATMUL", "SOFTMAX", "CONV_2D")) for q, model in attention.items()},
        "network_alike": of_sweeps == shipped,
    }


def addend_range() -> list:
    """Least and largest number that the small part of a sum can be in a file of integers: half of ±1, added to ±100."""
    half = 0.5 * jnp.eye(4)[None, None]
    small, large = (scale * np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4) for scale in (1, 100))

    def function(a, b):
        return conv2d(conv2d(a, half, lowering="export") + b, half, lowering="export")

    model = integer.convert_integers(function, [small.shape] * 2, [[small, large]])
    interpreter = load_interpreter(model, keep_every_tensor=True)
    (addition,) = [op for op in interpreter._get_ops_details() if op["op_name"] == "ADD"]
    tensors = {detail["index"]: detail["quantization"] for detail in interpreter.get_tensor_details()}
    scale, zero = min(tensors[number] for number in addition["inputs"])
    return [scale * (-128 - zero), scale * (127 - zero)]


def dynamic_kernel(inputs: int, outputs: int) -> dict:
    """Types of the weights of a convolution of 3×3 in a `dynamic` file."""
    x = Tensor("x", (Group("inputs", inputs),), Strided(2))
    block = conv_block(Builder("block", "conv", "segment", Group), x, Group("outputs", outputs), 1)
    return weight_types(tflite.convert_block(block, (16, 32), quantize="dynamic"))


def weight_types(model: bytes) -> dict:
    """How many constants of four axes, the kernels of convolutions, there are of each type."""
    file = unpacked(model)
    names = {number: name for name, number in vars(schema.TensorType).items()}
    tensors = file.subgraphs[0].tensors
    held = [tensor for tensor in tensors if file.buffers[tensor.buffer].data is not None and len(tensor.shape) == 4]
    return dict(collections.Counter(names[tensor.type] for tensor in held))


def dynamic_weights(block: Block, size: tuple[int, int]) -> dict:
    """By kind of convolution: types of its kernels, and how far they are from the block's own, of 1024 numbers or more.

    In steps, of which there are 127 to the largest number of an output channel.
    """
    exact, made = (unpacked(tflite.convert_block(block, size, quantize=q)) for q in ("none", "dynamic"))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    types: dict = collections.defaultdict(set)
    apart: dict = collections.defaultdict(float)
    for ours, theirs in zip(made.subgraphs[0].operators, exact.subgraphs[0].operators, strict=True):
        name = names[operators.operator_codes(made)[ours.opcodeIndex]]
        if "CONV" in name and (kernel := kernel_of(exact, theirs)[1]).size >= 1024:
            kind, values = kernel_of(made, ours)
            axes = (0, 1, 2) if name == "DEPTHWISE_CONV_2D" else (1, 2, 3)
            steps = np.abs(kernel).max(axes, keepdims=True) / 127
            types[name].add(kind)
            apart[name] = max(apart[name], float((np.abs(values - kernel) / steps).max()))
    return {name: {"types": sorted(types[name]), "apart": apart[name]} for name in types}


def kernel_of(file: Any, operator: Any) -> tuple[str, np.ndarray]:
    """The type of an operator's weights, and what they stand for."""
    tensor = file.subgraphs[0].tensors[operator.inputs[1]]
    data = np.asarray(file.buffers[tensor.buffer].data, np.uint8)
    if tensor.type == schema.TensorType.FLOAT32:
        return "FLOAT32", data.view(np.float32).reshape(tensor.shape)
    along = np.ones(4, int)
    along[tensor.quantization.quantizedDimension] = -1
    return "INT8", data.view(np.int8).reshape(tensor.shape) * tensor.quantization.scale.reshape(along)


def output_types(model: bytes, wanted: tuple[str, ...]) -> dict:
    """Types of the outputs of these operators."""
    file = unpacked(model)
    operator_names, type_names = (
        {number: name for name, number in vars(part).items()} for part in (schema.BuiltinOperator, schema.TensorType)
    )
    graph, codes = file.subgraphs[0], operators.operator_codes(file)
    found: dict = {name: set() for name in wanted}
    for op in graph.operators:
        if (name := operator_names[codes[op.opcodeIndex]]) in found:
            found[name].add(type_names[graph.tensors[op.outputs[0]].type])
    return {name: sorted(types) for name, types in found.items()}


def border_types(model: bytes) -> list:
    """Types of the input and the output of a file that has one of each."""
    interpreter = load_interpreter(model)
    found = (*interpreter.get_input_details(), *interpreter.get_output_details())
    return [np.dtype(detail["dtype"]).name for detail in found]


def steps_apart(integers: bytes, around: bytes, value: np.ndarray) -> float:
    """How far the output of a file of integers, as numbers, is from that of the same file with numbers around it."""
    interpreter = load_interpreter(integers)
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    steps = np.clip(np.round(value / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(given["index"], steps)
    interpreter.invoke()
    scale, zero = made["quantization"]
    found = scale * (interpreter.get_tensor(made["index"]).astype(np.float32) - zero)
    return float(np.abs(found - parity.run_tflite(around, value)).max() / scale)


def searched() -> ArchSpec:
    """A small decided network of odd widths and all paths."""
    supernet = declare(TINY)
    paths = dict(zip((block.name for block in supernet.mixed_blocks), PATHS, strict=True))
    widths = {group.name: max(group.floor, (group.size * 2) // 3) for group in supernet.searched_groups}
    return living(supernet, ArchSpec(TINY, widths, paths))


def main(folder: Path) -> None:
    """All cases."""
    found: dict = {"blocks": {}, "networks": {}, "operators": check_operators(), "numbers": check_numbers()}
    for kind, block in blocks().items():
        found["blocks"][f"{kind}-33x65"] = check_block(block, SIZES[1])
    found["blocks"]["mhsa_patch2-32x64"] = check_block(blocks()["mhsa_patch2"], SIZES[0])
    found["networks"]["supernet-32x64"] = check_network(declare(TINY), SIZES[0])
    found["networks"]["searched-33x65"] = check_network(declare_spec(searched()), SIZES[1])
    found["networks"]["normalized-32x64"] = check_network(declare_spec(searched()), SIZES[0], (MEAN, STD))
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
