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

from rtseg_jax.architecture import MIXED, PATHS, ArchSpec, declare, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.latency import LatencyModel, arch_latency, fitting, network_latency
from rtseg_jax.latency.predictor import perceptron, predict_blocks
from rtseg_jax.latency.pricing import total_latency
from rtseg_jax.latency.sampling import living, resize_block, sample_blocks, sample_networks

SUPERNET = declare(SPEC)
GROUPS = SUPERNET.searched_groups
FULL = {group.name: jnp.float32(group.size) for group in GROUPS}


@functools.cache
def fitted(seed: int = 0) -> LatencyModel:
    return fitting.fit(measure(seed=seed), CARD, seed)


def weights_of(path: tuple[float, float, float]) -> dict[str, jax.Array]:
    return {mixed.name: jnp.asarray(path) for mixed in SUPERNET.mixed_blocks}


def test_blocks_of_a_known_device_are_recovered():
    model = fitted()
    named = {block.name: block for block in SUPERNET.plain_blocks}
    blocks = [resize_block(named[name], widths) for name, widths in sample_blocks(SUPERNET, 80, seed=99)]
    features = fitting.arrays_of(blocks, SIZE, model.kinds, int(model.arrays["tile"]))
    predicted = np.asarray(predict_blocks(model.arrays, *map(jnp.asarray, features)))
    errors = np.abs(predicted / [block_ms(block) for block in blocks] - 1)
    assert errors.mean() < 0.05
    assert model.errors["block_mean"] < 0.08


def test_networks_of_a_known_device_are_recovered():
    archs = sample_networks(SPEC, 7, seed=99)[1:]
    errors = [abs(arch_latency(arch, SIZE, fitted()) / network_ms(declare_spec(arch)) - 1) for arch in archs]
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.08


def test_tiles_of_a_device_are_found():
    measured = measure(noise=0.0)
    kinds = tuple(sorted({block.kind for block in measured.blocks}))
    widths, context = fitting.arrays_of(measured.blocks, SIZE, kinds, 16)
    rates = {"features": np.full(fitting.ROUGH_FEATURES, 1e-7), "operator": 1e-3, "block": 1e-3}
    times = np.asarray(fitting.rough({"rates": rates}, widths, context)).tolist()
    tiled = fitting.Measured(measured.blocks, times, measured.networks, measured.network_ms, SIZE)
    model = fitting.fit(tiled, CARD)
    assert model.arrays["tile"] == 16


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
    widths, context = map(jnp.asarray, fitting.arrays_of(blocks, SIZE, model.kinds, int(model.arrays["tile"])))
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
    again = fitting.fit(measure(), CARD, 0)
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


def test_files_of_the_first_version_are_read_with_the_card_they_had(tmp_path: Path):
    path = tmp_path / "predictor.json"
    fitted().save(path)
    value = json.loads(path.read_text()) | {"version": 1}
    for field in ("graphs", "date", "noise"):
        del value["card"][field]
    path.write_text(json.dumps(value))
    assert LatencyModel.load(path).card == value["card"]
    del value["card"]["clock"]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="has no clock"):
        LatencyModel.load(path)
    path.write_text(json.dumps(value | {"version": 3}))
    with pytest.raises(UserError, match="another version"):
        LatencyModel.load(path)


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


def test_too_few_measurements_are_refused():
    with pytest.raises(UserError, match="num_blocks"):
        fitting.fit(measure(num_blocks=4), CARD)
