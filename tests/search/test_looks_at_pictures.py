"""The search depends on the pictures: what the gradients of a small trained network say about its channels is true."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rtseg_jax.architecture import declare
from rtseg_jax.config import base_config
from rtseg_jax.data import DataSpec, build_dataset, training_batches
from rtseg_jax.models import Architecture, SegmentationNetwork, initial_variables
from rtseg_jax.models.normalization import normalize
from rtseg_jax.search.arch_params import importance
from rtseg_jax.search.cost import Target
from rtseg_jax.search.rounds import Rounds, path_weights
from rtseg_jax.search.worth_params import WorthParams, initial_worth
from rtseg_jax.training.losses import LossSpec, cross_entropy
from rtseg_jax.training.phases import initial_state
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.specs import MeshSpec
from rtseg_jax.training.step import StepSetup, make_step
from rtseg_jax.training.worth_search import WorthSearch
from rtseg_jax.zoo import RTSeg

SIZE, BATCH, STEPS, HELD_OUT = (64, 128), 4, 100, 12
NETWORK = declare(
    RTSeg(
        11,
        width=0.25,
        segment_blocks=(0, 0, 1),
        expansion=3,
        mlp_ratio=1,
        head_width=8,
        head_channels=256,
        auxiliary_channels=8,
        dropout=0.0,
    )
)
PATHS = {mixed.name: "lir" for mixed in NETWORK.mixed_blocks}
WEIGHTS = path_weights(NETWORK, PATHS)


def channels(kept, paths):
    """Made-up milliseconds: one per channel."""
    del paths
    return sum(kept.values(), start=jnp.zeros(()))


ROUNDS = Rounds(NETWORK, channels, Target(1.0), 1, base_config().search.prior)
GROUPS = ROUNDS.groups(PATHS)
FULL = {group.name: group.size for group in GROUPS}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network after a short training, and its loss on pictures that it was not trained on."""

    arch: WorthParams
    params: dict
    held_out: object

    def rise(self, orders, widths):
        """Of the held-out loss when the first channels of these orders are kept."""
        masks = dict(self.arch.masks)
        for name, width in widths.items():
            masks[name] = np.isin(np.arange(len(masks[name])), orders[name][:width]).astype(np.float32)
        return self.held_out(masks) - self.held_out(self.arch.masks)

    @property
    def orders(self):
        """By the worth of channels together."""
        return {name: ranking.order for name, ranking in ROUNDS.rankings(self.arch).items()}


@pytest.fixture(scope="module")
def trained():
    spec = DataSpec(
        "synthetic_streets", train_size=SIZE, eval_size=SIZE, base_size=SIZE, scales=(0.75, 1.0, 1.5), num_train=150
    )
    stream = training_batches(build_dataset(spec).train, spec, BATCH, seed=0, num_threads=2)
    batches = [dict(batch) for batch in itertools.islice(stream, STEPS + HELD_OUT)]
    model = SegmentationNetwork(NETWORK)
    optimizer = optax.sgd(optax.cosine_decay_schedule(0.1, STEPS), 0.9)
    setup = StepSetup(model, optimizer, LossSpec(beta=0.0, gamma=0.0), 0, WorthSearch(channels, Target(1.0)))
    arch = initial_worth(NETWORK, samples=40)._replace(paths=WEIGHTS)
    state = initial_state(setup, initial_variables(model, 0), make_placement(MeshSpec()), arch)
    step = jax.jit(make_step(setup), donate_argnums=0)
    for batch in batches[:STEPS]:
        state, _ = step(state, batch, None)

    @jax.jit
    def loss(masks, batch):
        outputs, _ = model.apply(
            state.variables,
            normalize(batch["image"]),
            Architecture(masks, WEIGHTS),
            train=True,
            auxiliary=False,
            mutable=["batch_stats"],
        )
        return cross_entropy(outputs["logits"], batch["label"])

    return Trained(
        jax.device_get(state.arch),
        jax.device_get(state.params),
        lambda m: float(np.mean([loss(m, b) for b in batches[STEPS:]])),
    )


def test_order_of_channels_beats_chance_and_batch_norm(trained):
    widths = {group.name: group.snap(round(0.75 * group.size)) for group in GROUPS}
    rng = np.random.default_rng(0)
    by_chance = [trained.rise({name: rng.permutation(size) for name, size in FULL.items()}, widths) for _ in range(4)]
    by_scale = {name: np.argsort(-values) for name, values in importance(NETWORK, trained.params).items()}
    found = trained.rise(trained.orders, widths)
    assert found < trained.rise(by_scale, widths)
    assert found < min(by_chance)


@pytest.mark.parametrize("share", [0.9, 0.8])
def test_decision_with_the_task_differs_and_is_better(trained, share):
    """As much as a round of a search removes and twice that: worth is an estimate near where it was measured."""
    plan = dataclasses.replace(ROUNDS, target=Target(share * ROUNDS.start))
    blind = trained.arch._replace(samples=jax.tree.map(np.zeros_like, trained.arch.samples))
    rankings, of_cost_alone = plan.rankings(trained.arch), plan.rankings(blind)
    seeing = plan.widths(trained.arch, rankings, PATHS, 1)
    not_seeing = plan.widths(blind, of_cost_alone, PATHS, 1)
    different = [name for name in FULL if seeing[name] != not_seeing[name]]
    assert len(different) > len(FULL) / 4
    assert sum(seeing.values()) <= plan.target.cost
    # The same channels in the same order: widths alone.
    assert trained.rise(trained.orders, seeing) < trained.rise(trained.orders, not_seeing) / 2
