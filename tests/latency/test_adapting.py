"""A predictor that was adapted to another device by a few measurements."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from synthetic import CARD, SIZE, SPEC, measure

from rtseg_jax.architecture import ArchSpec, Block, Network, declare, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency import LatencyModel, arch_latency, features, network_latency
from rtseg_jax.latency.adapting import adapt
from rtseg_jax.latency.arrays import Features, predict
from rtseg_jax.latency.fitting import Measured, fit
from rtseg_jax.latency.sampling import living, sample_unseen_networks

NEW = {**CARD, "device": "another formula"}
GAINS = {"conv": 0.5, "head": 0.7, "mhsa": 1.6}  # of the new device; of every other type 0.9
SUPERNET = declare(SPEC)
OVERHEAD = 0.002  # milliseconds per operator of the exported graph


@functools.cache
def base() -> LatencyModel:
    return fit(measure(), CARD, steps=200).model  # nothing here depends on how good it is


def new_ms(blocks: Sequence[Block]) -> float:
    """The old device's predictions under the new one's gains, with an overhead."""
    gains = [GAINS.get(block.kind, 0.9) for block in blocks]
    operators = sum(features.operators(op) for block in blocks for op in block.ops)
    return float(old_ms(blocks) @ gains) + OVERHEAD * operators


def old_ms(blocks: Sequence[Block]) -> np.ndarray:
    """The old device's prediction for each block, without what lies between blocks."""
    return predict(
        base().arrays, Features.of(blocks, [SIZE] * len(blocks), base().kinds, base().precision).arrays(base().tiles)
    )


@functools.cache
def few() -> Measured:
    """Sixteen blocks, two of each type, and ten networks, on the new device."""
    old = measure(16, 10)
    assert set(old.block_sizes) == {SIZE}
    times = [new_ms((block,)) for block in old.blocks]
    return dataclasses.replace(
        old, block_ms=times, network_ms=[new_ms(network.plain_blocks) for network in old.networks]
    )


def test_gains_and_overhead_of_a_new_device_are_found():
    model = adapt(base(), few(), NEW).model
    found = dict(zip(model.kinds, np.asarray(model.arrays["gains"]), strict=True))
    assert found == pytest.approx({kind: GAINS.get(kind, 0.9) for kind in model.kinds}, rel=0.02)
    own, traffic, per_operator, borders = np.asarray(model.arrays["network"])
    assert (own, per_operator) == (1.0, pytest.approx(OVERHEAD, rel=0.05))
    assert borders == pytest.approx(0.0, abs=0.02)
    assert traffic == pytest.approx(0.0, abs=1e-8)
    for arch in sample_unseen_networks(SPEC, 8, seed=5):
        network: Network = declare_spec(arch)
        assert arch_latency(arch, SIZE, model) == pytest.approx(new_ms(network.plain_blocks), rel=0.01)


def test_the_same_device_is_left_as_it_was():
    old = measure(16, 10, noise=0.0)
    again = dataclasses.replace(
        old,
        block_ms=old_ms(old.blocks).tolist(),
        network_ms=[float(old_ms(network.plain_blocks).sum()) for network in old.networks],
    )
    model = adapt(base(), again, NEW).model
    np.testing.assert_allclose(model.arrays["gains"], 1.0, rtol=2e-3)
    assert float(model.arrays["spread"]) < 2e-3


def test_types_that_were_not_measured_follow_the_others():
    """Networks without attention, all of them twice as slow: attention is taken to be twice as slow as well."""
    supernet = SUPERNET
    widths = {group.name: group.size for group in supernet.searched_groups}
    lir = ArchSpec(SPEC, widths, {mixed.name: "lir" for mixed in supernet.mixed_blocks})
    skip = dataclasses.replace(lir, paths=dict.fromkeys(lir.paths, "skip"))
    networks = [declare_spec(living(supernet, arch)) for arch in (lir, skip)]
    times = [2 * float(old_ms(network.plain_blocks).sum()) for network in networks]
    model = adapt(base(), Measured([], [], [], networks, [SIZE] * 2, times), NEW).model
    assert model.arrays["gains"][model.kinds.index("mhsa")] == pytest.approx(2.0, rel=1e-3)


def _alone(block: Block) -> Network:
    return dataclasses.replace(SUPERNET, blocks=(block,))


def test_adapted_predictions_never_fall_when_a_width_grows():
    model, supernet = adapt(base(), few(), NEW).model, SUPERNET
    latency = jax.jit(jax.vmap(lambda kept: network_latency(supernet, SIZE, model)(kept, {})))
    half = {group.name: np.full(16, group.snap(group.size // 2), np.float32) for group in supernet.searched_groups}
    for group in supernet.searched_groups:
        grid = np.round(np.linspace(group.floor, group.size, 16)).astype(np.float32)
        found = np.asarray(latency({**half, group.name: grid}))
        assert (np.diff(found) >= -1e-6 * found[0]).all(), group.name
        assert found[-1] > found[0] or grid[0] == grid[-1], group.name


def test_cards_tell_where_an_adapted_predictor_comes_from_and_errors_are_of_measurements_left_out():
    result = adapt(base(), few(), NEW)
    assert result.model.card["device"] == "another formula"
    assert result.model.card["adapted_from"] == "formula · none · 1 · none"
    (held_out,) = result.blocks.values()
    without = dataclasses.replace(few(), blocks=few().blocks[1:], block_sizes=few().block_sizes[1:])
    without = dataclasses.replace(without, block_ms=few().block_ms[1:])
    left = adapt(base(), without, NEW).model
    alone = network_latency(_alone(few().blocks[0]), SIZE, left)({}, {})
    assert held_out.ms[0] == pytest.approx(float(alone), rel=1e-4)
    assert len(result.networks) == 10


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(UserError, match="1 networks were measured; adapting needs 2"):
        adapt(base(), measure(16, 1), NEW)
    narrow = dataclasses.replace(base(), kinds=tuple(kind for kind in base().kinds if kind != "mhsa"))
    with pytest.raises(UserError, match="no blocks of type mhsa"):
        adapt(narrow, measure(16, 4), NEW)
    networks = dataclasses.replace(measure(16, 4), blocks=[], block_sizes=[], block_ms=[])
    with pytest.raises(UserError, match="no blocks of type mhsa"):
        adapt(narrow, networks, NEW)
    with pytest.raises(UserError, match="has no date"):
        adapt(base(), few(), {**NEW, "date": ""})
