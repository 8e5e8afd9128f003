"""A .tflite file that can be computed by hand, written without TensorFlow: it hands on the larger of a value and 0."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rtseg_jax.export.flatbuffer import packed

NAMES = ("reddest", "greenest", "bluest")


def relu_model(size: tuple[int, int]) -> bytes:
    """A picture float32[1 h w 3] in, the same as logits of three classes out."""
    shape = [1, *size, 3]
    tensors = []
    for number, name in enumerate((b"picture", b"logits"), start=1):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer, tensor.name = shape, schema.TensorType.FLOAT32, number, name
        tensors.append(tensor)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 1
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [operator], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]
    return packed(model)


def small_network(size: tuple[int, int], classes: int, seed: int) -> bytes:
    """A picture float32[1 h w 3] in, logits of half its size out: a 3×3 convolution with stride 2, ReLU, and a 1×1 one.

    Its weights are noise; 0..255 is taken to about −1..1 by the first of them.
    """
    rng, half, width = np.random.default_rng(seed), [side // 2 for side in size], 8
    constants = [
        rng.normal(0, 1 / 300, (width, 3, 3, 3)),
        rng.normal(-1, 1, width),
        rng.normal(0, 1, (classes, 1, 1, width)),
        rng.normal(0, 1, classes),
    ]
    shapes = {b"picture": [1, *size, 3], b"features": [1, *half, width], b"logits": [1, *half, classes]}
    tensors, buffers = [], [schema.BufferT()]
    for name, shape in (*shapes.items(), *((b"constant", list(constant.shape)) for constant in constants)):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.shape, tensor.type, tensor.buffer, tensor.name = shape, schema.TensorType.FLOAT32, len(buffers), name
        tensors.append(tensor)
        buffers.append(buffer)
    for buffer, constant in zip(buffers[-len(constants) :], constants, strict=True):
        buffer.data = np.frombuffer(constant.astype(np.float32).tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    operators = []
    for number, stride in enumerate((2, 1)):
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = 1
        options.padding = schema.Padding.SAME
        relu, none = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.NONE
        options.fusedActivationFunction = none if number else relu
        operator = schema.OperatorT()
        operator.opcodeIndex = 0
        operator.inputs, operator.outputs = [number, 3 + 2 * number, 4 + 2 * number], [number + 1]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
        operators.append(operator)
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [0], [2]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    return packed(model)
