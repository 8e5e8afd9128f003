"""Conversion of blocks and networks to TFLite, by one of two converters.

Importing this module is cheap; jax2tf imports TensorFlow, which training processes run without. Call it in a child
process there. LiteRT's own converter is in `litert`.
"""

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.architecture import Block, Network
from rtseg_jax.architecture.graph import Weight
from rtseg_jax.errors import UserError
from rtseg_jax.export import litert
from rtseg_jax.export.heads import Variables, network_function
from rtseg_jax.export.hybrid import with_fast_operators
from rtseg_jax.export.pictures import Normalization
from rtseg_jax.export.spec import DYNAMIC, INTEGERS, JAX2TF, LITERT, ExportSpec
from rtseg_jax.models.network import BlockModule
from rtseg_jax.models.variables import Path, blocks_tree
from rtseg_jax.quiet import import_tensorflow, start_up_lines_left_out

Shape = tuple[int, ...]

WORKING_PAIR = {"jax": "0.9.2", "tensorflow-cpu": "2.21.0"}
UNREAD = ("XlaCallModule", "StableHLO", "vhlo")
"""What the converter's complaint mentions where it could not read a program."""


def convert(
    function: Callable[..., Any],
    input_shapes: Sequence[Shape],
    dtype: str = "float32",
    converter: str = JAX2TF,
    quantize: str = "none",
) -> bytes:
    """A TFLite model of a JAX function; arrays it closes over become constants.

    Args:
      function: of arrays, to one array.
      input_shapes: of each.
      dtype: of all of them.
      converter: one of `spec.CONVERTERS`; LiteRT's own writes float32 only.
      quantize: one of `spec.QUANTIZATIONS` but `spec.INTEGERS`, which are calibrated, see `integer`.
    """
    if quantize in INTEGERS or (converter == LITERT and quantize != "none"):
        raise ValueError(f"{converter} writes no {quantize} here")
    if converter == LITERT:
        return litert.convert(function, input_shapes, dtype)
    with versions_that_meet(), start_up_lines_left_out():
        return _by_tensorflow(function, input_shapes, dtype, quantize)


def _by_tensorflow(function: Callable[..., Any], input_shapes: Sequence[Shape], dtype: str, quantize: str) -> bytes:
    converter = converter_of(function, input_shapes, dtype)
    if quantize != "none":
        tf = import_tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "fp16":
            converter.target_spec.supported_types = [tf.float16]
    model: bytes = converter.convert()
    return with_fast_operators(model) if quantize == DYNAMIC else model


def convert_block(
    block: Block,
    image_size: tuple[int, int],
    variables: Variables | None = None,
    converter: str = JAX2TF,
    quantize: str = "none",
) -> bytes:
    """One block on its own, batch 1, an input for every tensor that it reads; random weights where None."""
    function, shapes = block_function(block, variables), block_input_shapes(block, image_size)
    try:
        return convert(function, shapes, converter=converter, quantize=quantize)
    except UserError as error:
        raise UserError(f"block {block.name}: {error}") from error


def block_function(block: Block, variables: Variables | None = None) -> Callable[..., jax.Array]:
    """What the file of a block computes, of its inputs one after the other; random weights where None."""
    module = block_module(block)
    variables = random_variables(block) if variables is None else variables
    return lambda *inputs: module.apply(variables, list(inputs), None, train=False)  # type: ignore[return-value]


def convert_network(
    network: Network, variables: Variables, spec: ExportSpec, normalization: Normalization | None = None
) -> bytes:
    """A whole network: pictures in, logits or classes out.

    Args:
      network: the declaration.
      variables: `params` and `batch_stats`.
      spec: size, ending, input, numbers and converter of the file; integers need pictures, see `integer`.
      normalization: see `network_function`.
    """
    function = network_function(network, variables, normalization, spec.head)
    dtype = "uint8" if spec.input == "uint8" else "float32"
    return convert(function, [(spec.batch, *spec.size, 3)], dtype, spec.converter, spec.quantize)


@contextlib.contextmanager
def versions_that_meet() -> Iterator[None]:
    """Says so where JAX writes StableHLO that TensorFlow's converter cannot read, in place of pages about operators."""
    try:
        yield
    except Exception as error:
        if not any(sign in str(error) for sign in UNREAD):
            raise
        installed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in WORKING_PAIR)
        working = ", ".join(f"{name} {version}" for name, version in WORKING_PAIR.items())
        raise UserError(
            f"{installed}: this TensorFlow cannot read the StableHLO that this JAX writes; {working} work together: "
            "pip install -r requirements.txt -c constraints.txt"
        ) from error


def converter_of(function: Callable[..., Any], input_shapes: Sequence[Shape], dtype: str) -> Any:
    """TensorFlow's converter for a JAX function of arrays of one type."""
    tf = import_tensorflow()
    from jax.experimental import jax2tf

    signature = [tf.TensorSpec(shape, tf.as_dtype(dtype)) for shape in input_shapes]
    traced = tf.function(jax2tf.convert(function, with_gradient=False), input_signature=signature, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], traced)
    converter.exclude_conversion_metadata = True  # it holds the time, and takes a third of the conversion
    return converter


def random_variables(declared: Block | Network, seed: int = 0) -> dict[str, Any]:
    """Random weights as its module takes them, in inference; variances are positive."""
    blocks: list[tuple[Path, Block]]
    if isinstance(declared, Block):
        blocks = [((), declared)]
    else:
        blocks = [((block.name,), block) for block in declared.plain_blocks]
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda weight: _random(generator, weight), blocks_tree(blocks, lambda _, weight: weight))


def block_module(block: Block) -> BlockModule:
    """The Flax module of a block, in the form that is exported."""
    return BlockModule(block, jnp.float32, "export")


def block_input_shapes(block: Block, image_size: tuple[int, int]) -> list[Shape]:
    """Shapes of what a block reads, batch 1."""
    return [(1, *tensor.size(image_size), tensor.channels) for tensor in block.inputs]


def _random(generator: np.random.Generator, weight: Weight) -> np.ndarray:
    """Values of ordinary magnitude: He for kernels, scales and variances near 1, small shifts."""
    if weight.role == "kernel":
        return generator.standard_normal(weight.shape, np.float32) * np.float32((2 / np.prod(weight.shape[:-1])) ** 0.5)
    if weight.role in ("scale", "variance"):
        return generator.uniform(0.5, 1.5, weight.shape).astype(np.float32)
    return generator.standard_normal(weight.shape, np.float32) * np.float32(0.1)
