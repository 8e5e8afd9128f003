"""The numbers that a network computes in: floats, or floats rounded as the 8-bit integers of its exported file.

Fake quantization (Jacob et al. 2018, section 3) by the rules of TFLite: kernels in 255 levels around zero for each
output channel, feature maps in 256 levels from their smallest to their largest number, zero among them. Gradients pass
as if nothing were rounded (Bengio et al. 2013). https://www.tensorflow.org/lite/performance/quantization_spec

Batch norm needs no folding here: it multiplies all of an output channel's weights by one number, and so their step.
Ranges are those of the batch at hand; nothing is remembered from step to step.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from rtseg_jax.architecture import Block, Tensor, operators
from rtseg_jax.architecture.extents import IMAGE
from rtseg_jax.architecture.graph import Op
from rtseg_jax.architecture.operators import Activation

FUSED: tuple[Activation, ...] = (None, "relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_sigmoid_5")
"""Activations that the converter makes a part of the operator in front of them, or of its range."""

UNCHANGED = (operators.Split, operators.Shuffle, operators.PadChannels, operators.Dropout)
"""Operators whose outputs hold numbers of their input, in its steps; besides maxima and nearest neighbours."""

_LEAST_STEP = 1e-30  # of a map or a channel that is all zero


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Floats: nothing is rounded. `Integers` overrides what it rounds."""

    def kernel(self, kernel: Float[Array, "kh kw i o"]) -> Float[Array, "kh kw i o"]:
        """Weights of a convolution."""
        return kernel

    def held(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """A map that the exported file holds, or a constant that is added to maps or multiplied with them."""
        return x

    def positive(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The same of numbers above zero of which a reciprocal is taken: none becomes smaller than the smallest."""
        return x

    def product(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """A product of two maps that another one takes."""
        return x

    def attention(self, shares: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """What a softmax over keys gives."""
        return shares

    def activated(self, x: Float[Array, "*shape"], activation: Activation) -> Float[Array, "*shape"]:
        """What an activation gives."""
        return x

    def output(self, op: Op, inputs: list[Float[Array, "b _ _ _"]], y: Float[Array, "b _ _ _"]) -> jax.Array:
        """What an operator gives; `inputs` as it read them."""
        return y


FLOATS = Numbers()


@dataclasses.dataclass(frozen=True)
class Integers(Numbers):
    """Rounded as in an `int8` file.

    Attributes:
      in_attention: whether products of maps and softmax are rounded as well; in `int8_float_attention` they are not.
    """

    in_attention: bool = True

    def kernel(self, kernel: Float[Array, "kh kw i o"]) -> Float[Array, "kh kw i o"]:
        """Rounded for each output channel."""
        return round_kernel(kernel)

    def held(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Rounded in its own range."""
        return round_map(x, *range_of(x))

    def positive(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Rounded; the file's tables end at the reciprocal of the smallest number that calibration met."""
        return jnp.maximum(self.held(x), lax.stop_gradient(x.min()))

    def product(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Rounded where attention is."""
        return self.held(x) if self.in_attention else x

    def attention(self, shares: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Rounded where attention is."""
        return round_shares(shares) if self.in_attention else shares

    def activated(self, x: Float[Array, "*shape"], activation: Activation) -> Float[Array, "*shape"]:
        """Rounded; a sigmoid's steps are always the same."""
        return round_shares(x) if activation == "sigmoid" else self.held(x)

    def output(self, op: Op, inputs: list[Float[Array, "b _ _ _"]], y: Float[Array, "b _ _ _"]) -> jax.Array:
        """Rounded, unless its numbers are those of an input; an interpolation has its input's steps."""
        if isinstance(op, UNCHANGED) or getattr(op, "kind", None) == "max" or getattr(op, "method", None) == "nearest":
            return y
        if isinstance(op, operators.Resize):
            return round_map(y, *range_of(inputs[0]))
        # The activation of a gate is that of its input, which it rounds itself.
        activation = None if isinstance(op, operators.Gate) else getattr(op, "activation", None)
        return self.activated(y, activation)


def interpolates_logits(block: Block) -> bool:
    """Whether a block ends with logits of picture size, which the file interpolates in floats: that is faster.

    Those of training alone never reach a file.
    """
    at_picture_size = isinstance(block.ops[-1], operators.Resize) and block.output.extent == IMAGE
    return at_picture_size and block.part != "auxiliary"


def passed_on(block: Block) -> frozenset[Tensor]:
    """Maps that are not rounded: interpolated logits, and what the file does not hold.

    An operator takes in the norm or activation behind it.
    """
    readers = {op.output: [reader for reader in block.ops if op.output in reader.inputs] for op in block.ops}
    taken = (
        op.output
        for op in block.ops
        if op.output != block.output and len(readers[op.output]) == 1 and _takes_in(op, readers[op.output][0])
    )
    return frozenset((*taken, block.output) if interpolates_logits(block) else taken)


def _takes_in(op: Op, reader: Op) -> bool:
    if getattr(op, "activation", None) is not None:
        return False
    if isinstance(reader, operators.BatchNorm):
        return isinstance(op, operators.Conv | operators.ConvTranspose)
    fused = isinstance(reader, operators.Activate) and reader.activation in FUSED
    return fused and isinstance(op, operators.Conv | operators.Add | operators.BatchNorm)


def range_of(x: Float[Array, "*shape"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Smallest and largest number, zero among them; without a gradient."""
    fixed = lax.stop_gradient(x).astype(jnp.float32)
    return jnp.minimum(fixed.min(), 0.0), jnp.maximum(fixed.max(), 0.0)


@jax.custom_vjp
def round_map(x: Float[Array, "*shape"], least: Float[Array, ""], largest: Float[Array, ""]) -> Float[Array, "*shape"]:
    """The nearest of 256 numbers from `least` to `largest`, moved by half a step at most so that zero is one of them.

    step = (largest − least) / 255, zero point = round(−least / step), x ≈ step·(code − zero point), code in 0..255.
    """
    step = jnp.maximum((largest - least) / 255, _LEAST_STEP)
    zero_point = jnp.round(-least / step)
    code = jnp.clip(jnp.round(x.astype(jnp.float32) / step) + zero_point, 0, 255)
    return ((code - zero_point) * step).astype(x.dtype)


def _round_map_forward(x: jax.Array, least: jax.Array, largest: jax.Array) -> tuple[jax.Array, None]:
    return round_map(x, least, largest), None


def _round_map_backward(residual: None, cotangent: jax.Array) -> tuple[jax.Array, None, None]:
    return cotangent, None, None


round_map.defvjp(_round_map_forward, _round_map_backward)


def round_shares(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Numbers in 0..1 in steps of 1/256 up to 255/256: what softmax and sigmoid give, whatever was calibrated."""
    return round_map(x, jnp.float32(0), jnp.float32(255 / 256))


@jax.custom_vjp
def round_kernel(kernel: Float[Array, "kh kw i o"]) -> Float[Array, "kh kw i o"]:
    """Multiples −127..127 of max|w|/127, for each output channel."""
    wide = kernel.astype(jnp.float32)
    step = jnp.maximum(jnp.abs(wide).max((0, 1, 2), keepdims=True) / 127, _LEAST_STEP)
    return (jnp.round(wide / step) * step).astype(kernel.dtype)


def _round_kernel_forward(kernel: jax.Array) -> tuple[jax.Array, None]:
    return round_kernel(kernel), None


def _round_kernel_backward(residual: None, cotangent: jax.Array) -> tuple[jax.Array]:
    return (cotangent,)


round_kernel.defvjp(_round_kernel_forward, _round_kernel_backward)
