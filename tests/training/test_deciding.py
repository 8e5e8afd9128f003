"""What the search by worth weighs when it chooses operators."""

import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import declare
from rtseg_jax.search.cost import Target
from rtseg_jax.search.decide import CostOf
from rtseg_jax.search.rounds import Rounds, default_paths
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training.deciding import Decider
from rtseg_jax.zoo import RTSeg

NETWORK = declare(RTSeg(4, width=0.5, segment_blocks=(0, 0, 1), expansion=1, mlp_ratio=1, head_width=8, dropout=0.0))
PLAIN = default_paths(NETWORK)


def channels(kept, paths):
    """Made-up milliseconds: two per channel of the block's convolution, three per channel of its attention."""
    weights = dict(zip(("skip", "lir", "mhsa"), paths["stage32_1"], strict=True))
    total = jnp.asarray(100.0)
    for name, width in kept.items():
        if name.startswith("stage32_1_"):
            path = name.removeprefix("stage32_1_").partition(".")[0]
            total += {"lir": 2.0, "mhsa": 3.0}[path] * weights[path] * width
    return total


@pytest.fixture
def decider():
    rounds = Rounds(NETWORK, channels, Target(1.0), number=1, prior=0.0)
    return Decider(run=None, rounds=rounds, cost_of=CostOf(NETWORK, channels))


def test_changes_of_operators_cost_what_they_cost_where_the_network_is_narrow(decider):
    wide = initial_worth(NETWORK, 1)
    size = {name: len(mask) for name, mask in wide.masks.items() if name.startswith("stage32_1_")}
    halved = {name: (np.arange(count) < count / 2).astype(np.float32) for name, count in size.items() if "lir" in name}
    narrow = wide._replace(masks=wide.masks | halved)
    losses = {
        None: np.asarray([1.0, 2.0]),
        ("stage32_1", "skip"): np.asarray([1.5, 2.25]),
        ("stage32_1", "mhsa"): np.asarray([1.0, 1.5]),
    }
    found = decider._evidence(losses, wide, narrow, PLAIN)
    convolution = 2.0 * sum(count for name, count in size.items() if "lir" in name)
    attention = 3.0 * sum(count for name, count in size.items() if "mhsa" in name)
    np.testing.assert_array_equal(found["stage32_1", "skip"].losses, [0.5, 0.25])
    assert found["stage32_1", "skip"].cost == -convolution / 2
    np.testing.assert_array_equal(found["stage32_1", "mhsa"].losses, [0.0, -0.5])
    assert found["stage32_1", "mhsa"].cost == (attention - convolution) / 2  # attention narrows as the convolution does
