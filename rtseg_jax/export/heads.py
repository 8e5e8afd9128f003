"""Networks as functions of pictures, with the ending that an exported file should have."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from rtseg_jax.architecture import Block, Network, operators
from rtseg_jax.export.pictures import Normalization, Normalize, by_convolution
from rtseg_jax.models.network import SegmentationNetwork

Variables = Mapping[str, Any]


def network_function(
    network: Network,
    variables: Variables,
    normalization: Normalization | None = None,
    head: str = "logits",
    lowering: Any = "export",
    normalize: Normalize = by_convolution,
) -> Callable[[Shaped[Array, "b h w 3"]], jax.Array]:
    """What an exported file computes.

    Args:
      network: the declaration.
      variables: `params` and `batch_stats`.
      normalization: the function takes pictures with values 0..255 and normalizes them itself; where None, it takes
        normalized pictures.
      head: one of `spec.HEADS`.
      lowering: see `models.convolution`.
      normalize: how.
    """
    module = SegmentationNetwork(before_upsampling(network) if head == "lowres_logits" else network, lowering=lowering)

    def outputs(images: jax.Array) -> jax.Array:
        images = images.astype(jnp.float32)
        if normalization is not None:
            images = normalize(images, normalization)
        logits = module.apply(variables, images)["logits"]  # type: ignore[index]
        return class_map(logits) if head == "class_map" else logits

    return outputs


def before_upsampling(network: Network) -> Network:
    """The same network without its last operation, the upsampling of the logits to picture size."""
    *blocks, head = network.blocks
    if not isinstance(head, Block) or not isinstance(head.ops[-1], operators.Resize):
        raise ValueError("the network does not end with an upsampling")
    return dataclasses.replace(network, blocks=(*blocks, dataclasses.replace(head, ops=head.ops[:-1])))


def class_map(logits: Float[Array, "b h w k"]) -> Float[Array, "b h w 1"]:
    """The class with the largest logit, the first of several, as a float.

    The older GPU delegates have no ARG_MAX. A class that is below the largest logit gets its number plus the number of
    classes, the others just their number; the smallest of these is the answer, without a product or a rounding in which
    two logits that differ could meet.
    """
    classes = logits.shape[-1]
    below = jnp.sign(logits.max(-1, keepdims=True) - logits)
    numbers = jnp.arange(classes, dtype=jnp.float32)[None, None, None]
    return (numbers + classes * below).min(-1, keepdims=True)
