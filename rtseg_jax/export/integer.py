"""Networks in 8-bit integers, with as many layers left in float32 as it takes."""

import csv
import dataclasses
import functools
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rtseg_jax.architecture import Block, Network
from rtseg_jax.errors import UserError
from rtseg_jax.export.calibration import with_own_ranges
from rtseg_jax.export.flatbuffer import unpacked
from rtseg_jax.export.heads import Variables, network_function
from rtseg_jax.export.operators import operator_codes
from rtseg_jax.export.pictures import Normalization, by_rows
from rtseg_jax.export.spec import FLOAT_ATTENTION, INT8, ExportSpec
from rtseg_jax.export.tflite import Shape, block_function, block_input_shapes, converter_of, versions_that_meet
from rtseg_jax.models.rounding import interpolates_logits
from rtseg_jax.quiet import import_tensorflow, start_up_lines_left_out

FEWEST_PICTURES = 16
MEASURED_PICTURES = 4  # that the errors of layers are averaged over


FLOAT_OPERATORS = {INT8: (), FLOAT_ATTENTION: ("BATCH_MATMUL", "SOFTMAX")}
"""What stays in float32 wherever it occurs: runtimes on CPUs have no fast 8-bit form of products of feature maps."""


def check_pictures(number: int, setting: str) -> None:
    """Raises `UserError` naming the setting where there are too few training pictures to calibrate on."""
    if number < FEWEST_PICTURES:
        raise UserError(
            f"{setting} was given {number} training pictures to calibrate on; it needs at least {FEWEST_PICTURES}"
        )


def convert_random_block(block: Block, image_size: tuple[int, int], quantize: str = INT8) -> bytes:
    """A block with random weights, whose inputs and output are 8-bit integers as they are inside of a network.

    Logits of picture size are floats, as there. It is calibrated on one random input: the ranges do not matter to its
    time. `quantize` is one of `spec.INTEGERS`.
    """
    shapes = block_input_shapes(block, image_size)
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal(shape, np.float32) for shape in shapes]
    try:
        function = block_function(block)
        head = "logits" if interpolates_logits(block) else None
        return convert_integers(function, shapes, [inputs], quantize=quantize, integer_borders=True, head=head)
    except UserError as error:
        raise UserError(f"block {block.name}: {error}") from error


def convert_random_network(
    network: Network, variables: Variables, spec: ExportSpec, normalization: Normalization | None = None
) -> bytes:
    """A whole network as `Calibrated` writes it, calibrated on one picture of noise."""
    picture = np.random.default_rng(0).integers(0, 256, (1, *spec.size, 3)).astype(np.uint8)
    function = network_function(network, variables, normalization, spec.head, normalize=by_rows)
    inputs = _Inputs(picture, spec.batch, _dtype(spec))
    shapes = [(spec.batch, *spec.size, 3)]
    return convert_integers(function, shapes, inputs, _dtype(spec), quantize=spec.quantize, head=spec.head)


def convert_integers(
    function: Callable[..., Any],
    input_shapes: Sequence[Shape],
    inputs: Iterable[list[np.ndarray]],
    dtype: str = "float32",
    *,
    quantize: str = INT8,
    integer_borders: bool = False,
    head: str | None = None,
) -> bytes:
    """A TFLite model of a JAX function in 8-bit integers; what has no integer operator stays in float32.

    Args:
      function: of arrays, to one array.
      input_shapes: of each.
      inputs: of the function, on which ranges of values are measured.
      dtype: of all inputs.
      quantize: one of `spec.INTEGERS`.
      integer_borders: whether inputs and output are integers too; otherwise they are converted inside of the file.
      head: one of `spec.HEADS` where the output is that of a network: its ending stays in floats.
    """
    tf = import_tensorflow()
    from tensorflow.lite.python import convert

    types = {"input_data_type": tf.int8, "output_data_type": tf.float32 if head else tf.int8}
    borders = types if integer_borders else {}
    inputs = list(inputs)
    with versions_that_meet(), start_up_lines_left_out():
        converter = _integer_converter(function, input_shapes, inputs, dtype)
        converter._experimental_calibrate_only = True  # as its QuantizationDebugger does, which knows no borders
        calibrated = with_own_ranges(converter.convert(), inputs)
        return convert.mlir_quantize(
            calibrated,
            denylisted_ops=list(FLOAT_OPERATORS[quantize]),
            denylisted_nodes=ending(calibrated, head) if head else [],
            **borders,
        )


def _integer_converter(
    function: Callable[..., Any], input_shapes: Sequence[Shape], inputs: Iterable[list[np.ndarray]], dtype: str
) -> Any:
    tf = import_tensorflow()
    converter = converter_of(function, input_shapes, dtype)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # TensorFlow's calibrator says which tensors have ranges; `with_own_ranges` measures them.
    converter.representative_dataset = lambda: itertools.islice(inputs, 1)
    return converter


@dataclasses.dataclass(frozen=True)
class LayerError:
    """What rounding to 8 bits does to one operator whose inputs are exact.

    Attributes:
      operator: its name in the TFLite schema.
      tensor: name of its output.
      error: root of the mean squared error over the step of its 8-bit numbers; 0.29 is rounding alone.
    """

    operator: str
    tensor: str
    error: float


class Calibrated:
    """A network whose ranges of values were measured on pictures; weights are quantized per channel."""

    def __init__(
        self,
        network: Network,
        variables: Variables,
        spec: ExportSpec,
        normalization: Normalization | None,
        pictures: UInt8[np.ndarray, "n h w 3"],
    ):
        """Runs the network on training pictures of the size of `spec`; raises `UserError` where they are too few."""
        tf = import_tensorflow()

        check_pictures(len(pictures), f"--quantize={spec.quantize}")
        function = network_function(network, variables, normalization, spec.head, normalize=by_rows)
        dtype, shapes = _dtype(spec), [(spec.batch, *spec.size, 3)]
        inputs = _Inputs(pictures, spec.batch, dtype)
        converter = _integer_converter(function, shapes, inputs, dtype)
        self._float = list(FLOAT_OPERATORS[spec.quantize])
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=self._float)
        with versions_that_meet(), start_up_lines_left_out():
            self._debugger = tf.lite.experimental.QuantizationDebugger(
                converter=converter,
                debug_options=options,
                debug_dataset=lambda: iter(_Inputs(pictures[:MEASURED_PICTURES], spec.batch, dtype)),
            )
            self._debugger.calibrated_model = with_own_ranges(self._debugger.calibrated_model, inputs)
            self._debugger.options = options  # rounds once more, by these ranges
        self._ending = ending(self._debugger.calibrated_model, spec.head)

    @functools.cached_property
    def layers(self) -> tuple[LayerError, ...]:
        """Errors of all operators that have 8-bit outputs, in the order of the graph."""
        with start_up_lines_left_out():
            self._debugger.run()
        table = io.StringIO()
        self._debugger.layer_statistics_dump(table)
        rows = csv.DictReader(io.StringIO(table.getvalue()))
        return tuple(LayerError(row["op_name"], row["tensor_name"], _relative_error(row)) for row in rows)

    @property
    def worst(self) -> tuple[LayerError, ...]:
        """The same, the largest error first, the ending aside."""
        return tuple(sorted((x for x in self.layers if x.tensor not in self._ending), key=lambda layer: -layer.error))

    def convert(self, float_layers: Sequence[str] = ()) -> bytes:
        """The file; operators whose outputs are named stay in float32, as does the ending."""
        tf = import_tensorflow()

        nodes = [*float_layers, *self._ending]
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=self._float, denylisted_nodes=nodes)
        with start_up_lines_left_out():
            self._debugger.options = options  # converts as well
            return self._debugger.get_nondebug_quantized_model()


def ending(calibrated: bytes, head: str) -> list[str]:
    """Outputs of the operators that interpolate logits to picture size and that make classes of them.

    8-bit numbers of classes would be rounded to others, and to interpolate 8-bit numbers takes longer than to convert
    the few that there are before.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = unpacked(calibrated)
    (graph,), codes = file.subgraphs, operator_codes(file)
    numbers = [codes[op.opcodeIndex] for op in graph.operators]
    first = len(numbers)
    if head == "class_map":  # begins with the largest logit
        first -= 1 + numbers[::-1].index(schema.BuiltinOperator.REDUCE_MAX)
    if numbers[first - 1] == schema.BuiltinOperator.RESIZE_BILINEAR:
        first -= 1
    return [graph.tensors[op.outputs[0]].name.decode() for op in graph.operators[first:]]


def _relative_error(row: dict[str, Any]) -> float:
    return math.sqrt(float(row["mean_squared_error"])) / float(row["scale"])


def _dtype(spec: ExportSpec) -> str:
    return "uint8" if spec.input == "uint8" else "float32"


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """Full batches of pictures in the type that a file takes, as often as they are asked for; a rest is filled up."""

    pictures: UInt8[np.ndarray, "n h w 3"]
    batch: int
    dtype: str

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        number = -(-len(self.pictures) // self.batch) * self.batch
        pictures = np.resize(self.pictures, (number, *self.pictures.shape[1:]))
        for start in range(0, number, self.batch):
            yield [pictures[start : start + self.batch].astype(self.dtype)]
