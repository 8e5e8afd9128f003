"""The fitted model: accuracy on a known device, monotonicity, gradients, files."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import CARD, SIZE, SPEC, block_ms, measure, network_ms

from rtseg_jax.architecture import MIXED, ArchSpec, Block, declare, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency import LatencyModel, arch_latency, fitting, network_latency
from rtseg_jax.latency.accuracy import conformal_spread
from rtseg_jax.latency.arrays import Arrays, Features
from rtseg_jax.latency.predictor import ROUGH_FEATURES, perceptron, predict_blocks, rough
from rtseg_jax.latency.pricing import latency_by_part, total_latency
from rtseg_jax.latency.sampling import living, sample_blocks, sample_networks

PATHS = ("skip", "lir", "mhsa")

SUPERNET = declare(SPEC)
GROUPS = SUPERNET.searched_groups
FULL = {group.name: jnp.float32(group.size) for group in GROUPS}


@functools.cache
def fit(seed: int = 0) -> fitting.Fit:
    return fitting.fit(measure(seed=seed), CARD, seed)


def fitted(seed: int = 0) -> LatencyModel:
    return fit(seed).model


def weights_of(path: tuple[float, float, float]) -> dict[str, jax.Array]:
    return {mixed.name: jnp.asarray(path) for mixed in SUPERNET.mixed_blocks}


def arrays(model: LatencyModel, blocks: list[Block]) -> Arrays:
    return Features.of(blocks, [SIZE] * len(blocks), model.kinds, model.precision).arrays(model.tiles)


def test_blocks_of_a_known_device_are_recovered():
    model = fitted()
    blocks = [subject.declare() for subject in sample_blocks(SPEC, SIZE, 80, seed=99) if subject.image_size == SIZE]
    features = arrays(model, blocks)
    predicted = np.asarray(predict_blocks(model.arrays, features.widths, features.context))
    errors = np.abs(predicted / [block_ms(block) for block in blocks] - 1)
    assert errors.mean() < 0.05
    held_out = fit().blocks["held-out blocks"]
    measured = np.asarray(measure().block_ms)[held_out.indices]
    assert sorted(held_out.indices) == list(range(60))
    assert np.abs(held_out.ms / measured - 1).mean() < 0.08


def test_what_is_held_out_is_what_its_name_says():
    measured = measure()
    held_out = fit().blocks
    names = {"stem": "stem.fuse", "head": "head.conv", "aggregation": "aggregation.out", "context": "context"}
    unseen = {measured.blocks[i] for i in held_out["unseen widths"].indices}
    for block in measured.blocks:
        widths = {group.name: group.size for op in block.ops for group in op.output.groups}
        last = widths[names.get(block.name, block.output.groups[0].name)]  # all of them are multiples of 4
        assert (block in unseen) == (last // 4 % 4 == 3), block.name
    assert "head" in {block.name for block in unseen}  # its output, the classes, is not searched
    assert len({measured.block_sizes[i] for i in held_out["unseen resolution"].indices}) == 1
    other = {size for i, size in enumerate(measured.block_sizes) if i not in held_out["unseen resolution"].indices}
    assert measured.block_sizes[held_out["unseen resolution"].indices[0]] not in other
    assert SIZE in other


def test_intervals_are_conformal():
    """Eleven networks: the ⌈0.9 · 12⌉ = 11th smallest error is the largest; of 19 the 18th is the second largest."""
    predicted = np.ones(11)
    assert conformal_spread(predicted, np.exp(np.linspace(-0.05, 0.05, 11))) == pytest.approx(0.05)
    errors = np.r_[0.3, 0.2, np.full(17, 0.01)]
    assert conformal_spread(np.ones(19), np.exp(-errors)) == pytest.approx(0.2)
    assert conformal_spread(np.ones(4), np.exp(errors[:4])) == pytest.approx(0.3)  # too few for any level
    low, high = fitted().interval(10.0)
    spread = float(fitted().arrays["spread"])
    assert (low, high) == (pytest.approx(10 * np.exp(-spread)), pytest.approx(10 * np.exp(spread)))
    assert spread == pytest.approx(conformal_spread(fit().networks, np.asarray(measure(num_networks=12).network_ms)))


def test_networks_of_a_known_device_are_recovered():
    archs = sample_networks(SPEC, 7, seed=99)[1:]
    errors = [abs(arch_latency(arch, SIZE, fitted()) / network_ms(declare_spec(arch)) - 1) for arch in archs]
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.08


def test_tiles_of_a_device_are_found():
    measured = measure(noise=0.0)
    kinds = tuple(sorted({block.kind for block in measured.blocks}))
    features = Features.of(measured.blocks, measured.block_sizes, kinds, "float32")
    device = {"conv": (8, 16), "pointwise": (4, 4), "depthwise": (16, 16), "inputs": (8, 8)}
    found = features.arrays(device)
    generator = np.random.default_rng(0)
    rates = {"features": 1e-7 * generator.uniform(0.5, 2, ROUGH_FEATURES), "operator": 1e-3, "block": 1e-3}
    times = rough({"rates": rates}, found.widths, found.context)
    assert fitting.find_tiles(features, times) == device


@pytest.mark.parametrize("seed", [0, 1])
def test_latency_never_falls_when_a_width_grows(seed: int):
    latency = jax.jit(jax.vmap(network_latency(SUPERNET, SIZE, fitted(seed)), in_axes=(0, None)))
    generator = np.random.default_rng(seed)
    for base in (0.1, 0.5, 1.0):
        widths = {g.name: np.float32(max(g.floor, round(base * g.size * generator.uniform(0.7, 1)))) for g in GROUPS}
        for group in GROUPS:
            grid = np.arange(group.floor, group.size + 1, max(1, group.size // 16), dtype=np.float32)
            grid = np.pad(grid, (0, 48 - len(grid)), mode="edge")  # one shape for all groups
            kept = {name: np.full(48, width, np.float32) for name, width in widths.items()} | {group.name: grid}
            found = np.asarray(latency(kept, weights_of((0.2, 0.5, 0.3))))
            assert (np.diff(found) >= -1e-6 * found[0]).all(), (group.name, base)
            assert found[-1] > found[0] or grid[0] == grid[-1], (group.name, base)


def test_perceptrons_of_any_weights_are_monotone():
    trained = fitted().arrays["layers"]
    for seed in range(5):
        noise = np.random.default_rng(seed)
        layers = jax.tree.map(lambda x, n=noise: jnp.asarray(x + n.normal(0, 2, x.shape), jnp.float32), trained)
        widths = jnp.asarray(noise.normal(0, 2, (16, layers["first"]["widths"].shape[0])), jnp.float32)
        context = jnp.asarray(noise.normal(0, 2, (16, layers["first"]["context"].shape[0])), jnp.float32)
        slopes = np.asarray(jax.grad(lambda x, c=context, p=layers: perceptron(p, x, c).sum())(widths))
        assert (slopes >= 0).all()
        assert slopes.max() > 0
        biased = jax.grad(lambda c, x=widths, p=layers: perceptron(p, x, c).sum())(context)
        assert biased.min() < 0 < biased.max()  # context may act either way


def test_gradient_reaches_every_group_on_the_path_and_no_other():
    latency = network_latency(SUPERNET, SIZE, fitted())
    for factor in (0.1, 0.5, 1.0):
        kept = {group.name: jnp.float32(max(group.floor, factor * group.size)) for group in GROUPS}
        both = jax.grad(latency)(kept, weights_of((0.0, 1.0, 1.0)))
        assert min(both.values()) > 0, min(both, key=both.get)
        lir = jax.grad(latency)(kept, weights_of((0.0, 1.0, 0.0)))
        dead = {name for name in lir if "_mhsa." in name}
        assert len(dead) == 3 * len(SUPERNET.mixed_blocks)
        assert {name for name, slope in lir.items() if slope == 0} == dead


def test_gradient_beyond_what_was_measured_is_alive():
    latency = network_latency(SUPERNET, SIZE, fitted())
    slopes = jax.grad(latency)({name: 3 * width for name, width in FULL.items()}, weights_of((0.0, 1.0, 1.0)))
    assert min(slopes.values()) > 0


def test_path_weights_are_priced_linearly():
    latency = jax.jit(network_latency(SUPERNET, SIZE, fitted()))
    name = SUPERNET.mixed_blocks[2].name

    def at(weight: tuple[float, float, float]) -> float:
        return float(latency(FULL, {**weights_of((0.0, 1.0, 0.0)), name: jnp.asarray(weight)}))

    skip, lir, mhsa = at((1, 0, 0)), at((0, 1, 0)), at((0, 0, 1))
    assert skip < min(lir, mhsa)
    assert at((0.2, 0.3, 0.5)) == pytest.approx(0.2 * skip + 0.3 * lir + 0.5 * mhsa, rel=1e-5)
    assert at((0, 1, 1)) == pytest.approx(lir + mhsa - skip, rel=1e-5)
    slopes = jax.grad(latency, argnums=1)(FULL, weights_of((0.3, 0.3, 0.4)))
    assert all(slope[0] == 0 and slope[1] > 0 and slope[2] > 0 for slope in slopes.values())


@pytest.mark.parametrize("seed", range(4))
def test_masked_supernet_costs_what_the_network_cut_out_of_it_costs(seed: int):
    generator = np.random.default_rng(seed)
    paths = {mixed.name: PATHS[generator.integers(3)] for mixed in SUPERNET.mixed_blocks}
    widths = {group.name: group.snap(int(generator.integers(1, group.size + 1))) for group in GROUPS}
    arch = living(SUPERNET, ArchSpec(SPEC, widths, paths))
    weights = {name: jnp.asarray([float(path == choice) for choice in PATHS]) for name, path in paths.items()}
    found = network_latency(SUPERNET, SIZE, fitted())({k: jnp.float32(v) for k, v in widths.items()}, weights)
    assert float(found) == pytest.approx(arch_latency(arch, SIZE, fitted()), rel=1e-5)


def test_supernet_runs_both_paths_and_missing_names_are_full():
    arch = ArchSpec(SPEC, {g.name: g.size for g in GROUPS}, {mixed.name: MIXED for mixed in SUPERNET.mixed_blocks})
    latency = network_latency(SUPERNET, SIZE, fitted())
    whole = arch_latency(arch, SIZE, fitted())
    assert float(latency({}, {})) == pytest.approx(whole, rel=1e-6)
    assert float(latency(FULL, weights_of((0.0, 1.0, 1.0)))) == pytest.approx(whole, rel=1e-6)


def test_nothing_in_the_network_is_free():
    model = fitted()
    blocks = SUPERNET.plain_blocks
    features = arrays(model, list(blocks))
    widths, context = jnp.asarray(features.widths), jnp.asarray(features.context)
    whole = total_latency(model.arrays, widths, context, jnp.ones(len(blocks)))
    for index, block in enumerate(blocks):
        without = total_latency(model.arrays, widths, context, jnp.ones(len(blocks)).at[index].set(0.0))
        assert without < whole, block.name


def test_files_keep_every_bit(tmp_path: Path):
    path = tmp_path / "predictor.json"
    fitted().save(path)
    loaded = LatencyModel.load(path)
    jax.tree.map(np.testing.assert_array_equal, loaded.arrays, fitted().arrays)
    assert (loaded.kinds, loaded.card, loaded.errors) == (fitted().kinds, fitted().card, fitted().errors)
    found, expected = (network_latency(SUPERNET, SIZE, model)(FULL, {}) for model in (loaded, fitted()))
    assert float(found) == float(expected)


def test_fits_are_repeatable():
    again = fitting.fit(measure(), CARD, 0).model
    jax.tree.map(np.testing.assert_array_equal, again.arrays, fitted().arrays)


@pytest.mark.parametrize(
    "field", ["device", "runtime", "threads", "clock", "image_size", "statistic", "graphs", "date", "noise"]
)
def test_incomplete_cards_are_refused(tmp_path: Path, field: str):
    path = tmp_path / "predictor.json"
    fitted().save(path)
    value = json.loads(path.read_text())
    del value["card"][field]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=field):
        LatencyModel.load(path)


def test_the_folder_of_a_sweep_names_its_predictor_and_an_incomplete_card_in_it_is_refused(tmp_path: Path):
    fitted().save(tmp_path / "predictor.json")
    assert LatencyModel.load(tmp_path).card == fitted().card
    dataclasses.replace(fitted(), card={**fitted().card, "date": None}).save(tmp_path / "predictor.json")
    with pytest.raises(UserError, match=r"predictor\.json: the card of the measurements has no date"):
        LatencyModel.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"arrays": 3}', "[]"])
def test_foreign_files_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "predictor.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a latency predictor"):
        LatencyModel.load(path)


def test_missing_files_and_other_versions_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        LatencyModel.load(tmp_path / "predictor.json")
    path = tmp_path / "predictor.json"
    fitted().save(path)
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "width_features": value["width_features"][1:]}))
    with pytest.raises(UserError, match="another version"):
        LatencyModel.load(path)
    path.write_text(json.dumps({**value, "version": 2}))
    with pytest.raises(UserError, match="another version"):
        LatencyModel.load(path)


def test_parts_of_a_network_add_up():
    arch = sample_networks(SPEC, 3, seed=4)[2]
    parts = latency_by_part(arch, SIZE, fitted())
    assert list(parts)[:2] == ["detail", "stem"]
    assert list(parts)[-4:] == ["context", "aggregation", "head", "between blocks"]
    assert sum(parts.values()) == pytest.approx(arch_latency(arch, SIZE, fitted()), rel=1e-5)
    heads = [block for block in declare_spec(arch).plain_blocks if block.name == "head"]
    features = arrays(fitted(), heads)
    head_ms = float(predict_blocks(fitted().arrays, features.widths, features.context)[0])
    assert parts["head"] == pytest.approx(float(fitted().arrays["network"][0]) * head_ms, rel=1e-5)


def test_too_few_measurements_are_refused():
    with pytest.raises(UserError, match="num_blocks"):
        fitting.fit(measure(num_blocks=4), CARD)
