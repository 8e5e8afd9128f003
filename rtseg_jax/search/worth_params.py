"""What the search by worth carries beside the weights, and samples of it."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtseg_jax.architecture import Mixed, Network
from rtseg_jax.models import Architecture


class WorthParams(NamedTuple):
    """The architecture of now, and what was learned of every channel.

    Attributes:
      masks: 1 for channels that take part, else 0, by group.
      squares: Σ (∂L/∂b)² over the steps since the last decision, by group.
      worth: its mean per step, averaged over decisions, by group; 0 before the first.
      steps: since the last decision.
      paths: probability of (skip, lir, mhsa), by mixed block; one of them is 1 once it is decided.
    """

    masks: Mapping[str, Float[Array, " g"]]
    squares: Mapping[str, Float[Array, " g"]]
    worth: Mapping[str, Float[Array, " g"]]
    steps: Float[Array, ""]
    paths: Mapping[str, Float[Array, " p"]]


def initial_worth(network: Network) -> WorthParams:
    """Every channel takes part; each mixed block's first operator is sampled half of the time, the others evenly."""

    def zeros() -> dict[str, jax.Array]:
        return {group.name: jnp.zeros(group.size) for group in network.searched_groups}

    return WorthParams(
        {group.name: jnp.ones(group.size) for group in network.searched_groups},
        zeros(),
        zeros(),
        jnp.zeros(()),
        {mixed.name: _probabilities(mixed) for mixed in network.mixed_blocks},
    )


def _probabilities(mixed: Mixed) -> jax.Array:
    # Convolutions, the first operator, learn fastest from nothing, and are what most blocks end as.
    other = 0.5 / (len(mixed.choices) - 1)
    return jnp.asarray([0.5 if path == mixed.choices[1] else other for path in mixed.choices])


def sample_worth(params: WorthParams, key: jax.Array) -> Architecture:
    """The masks as they are, and one path per mixed block drawn with its probabilities."""
    names = sorted(params.paths)
    keys = jax.random.split(key, max(1, len(names)))
    drawn = {
        name: jax.nn.one_hot(jax.random.categorical(k, jnp.log(params.paths[name])), len(params.paths[name]))
        for name, k in zip(names, keys, strict=False)
    }
    return Architecture(params.masks, drawn)
