"""What the search by worth carries beside the weights, and samples of it."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtseg_jax.architecture import PATHS, Network
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
    """Every channel takes part; LIR is sampled half of the time, skip and attention a quarter each."""
    # Convolutions learn fastest from nothing, and are what most blocks end as: they get most steps.
    probabilities = {"skip": 0.25, "lir": 0.5, "mhsa": 0.25}

    def zeros() -> dict[str, jax.Array]:
        return {group.name: jnp.zeros(group.size) for group in network.searched_groups}

    return WorthParams(
        {group.name: jnp.ones(group.size) for group in network.searched_groups},
        zeros(),
        zeros(),
        jnp.zeros(()),
        {mixed.name: jnp.asarray([probabilities[path] for path in PATHS]) for mixed in network.mixed_blocks},
    )


def sample_worth(params: WorthParams, key: jax.Array) -> Architecture:
    """The masks as they are, and one path per mixed block drawn with its probabilities."""
    names = sorted(params.paths)
    keys = jax.random.split(key, max(1, len(names)))
    drawn = {
        name: jax.nn.one_hot(jax.random.categorical(k, jnp.log(params.paths[name])), len(PATHS))
        for name, k in zip(names, keys, strict=False)
    }
    return Architecture(params.masks, drawn)
