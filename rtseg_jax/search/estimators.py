"""The rules by which gradients pass a discrete choice; all are `custom_vjp`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

THRESHOLD = 0.5  # Th in equation 3


def ranks(indicators: Float[Array, " g"]) -> jax.Array:
    """Rank of every indicator, 0 for the largest; the first of equals wins."""
    return jnp.argsort(jnp.argsort(-indicators, stable=True), stable=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def binarize(indicators: Float[Array, " g"], floor: int, multiple: int) -> Float[Array, " g"]:
    """Keeps what exceeds the threshold, the number kept rounded up: b = 1[c > Th], ∂L/∂c := ∂L/∂b (equations 3, 5).

    The published rule is floor 0, multiple 1. Phones compute channels in slices of four, so keeping 5 costs as much as
    8: the next largest indicators are kept as well until the number is a multiple, and never fewer than `floor` (ours).

    Args:
      indicators: one number per channel or attention head.
      floor: fewest that stay.
      multiple: the number kept is rounded up to a multiple of this.
    """
    kept = jnp.sum(indicators > THRESHOLD)
    kept = jnp.maximum(-(-kept // multiple) * multiple, floor)
    return (ranks(indicators) < kept).astype(indicators.dtype)


def _binarize_forward(indicators: jax.Array, floor: int, multiple: int) -> tuple[jax.Array, None]:
    return binarize(indicators, floor, multiple), None


def _binarize_backward(floor: int, multiple: int, residual: None, cotangent: jax.Array) -> tuple[jax.Array]:
    return (cotangent,)


binarize.defvjp(_binarize_forward, _binarize_backward)


@jax.custom_vjp
def sample_path(
    logits: Float[Array, " p"], noise: Float[Array, " p"], temperature: Float[Array, ""]
) -> Float[Array, " p"]:
    """Hard Gumbel-softmax (Jang et al. 2016): forward the one-hot maximum, backward the softmax's derivative.

    h = onehot(argmax(logits + noise)), ∂h := ∂softmax((logits + noise) / τ).

    Args:
      logits: one per path.
      noise: standard Gumbel noise, or zeros for the most probable path.
      temperature: τ.
    """
    return jax.nn.one_hot(jnp.argmax(logits + noise), logits.shape[0], dtype=logits.dtype)


def _sample_forward(logits: jax.Array, noise: jax.Array, temperature: jax.Array) -> tuple[jax.Array, Any]:
    soft = jax.nn.softmax((logits + noise) / temperature)
    return sample_path(logits, noise, temperature), (soft, temperature)


def _sample_backward(residual: Any, cotangent: jax.Array) -> tuple[jax.Array, None, None]:
    soft, temperature = residual
    return soft * (cotangent - jnp.sum(cotangent * soft)) / temperature, None, None


sample_path.defvjp(_sample_forward, _sample_backward)


@jax.custom_vjp
def scale_gradient(values: Float[Array, " p"], factor: Float[Array, ""]) -> Float[Array, " p"]:
    """The values as they are; their gradient is multiplied by `factor`, which gets none.

    At `factor` τ it makes up for the 1/τ in `sample_path`: what the task says of a path is then as loud at every
    temperature, as what cost says is (ours).
    """
    return values


def _scale_forward(values: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    return values, factor


def _scale_backward(factor: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return factor * cotangent, None


scale_gradient.defvjp(_scale_forward, _scale_backward)
