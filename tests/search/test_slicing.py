"""The masked supernet and the network cut out of it compute the same, exactly.

Three computations meet: the supernet under masks and one-hot paths, the sliced network in NumPy (an implementation of
its own, in float64), and, for some architectures, the sliced network in Flax. Every leaf is random: fresh batch
statistics, scales and biases would hide a leak.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_network

from rtseg_jax.architecture import declare, declare_spec, live_groups
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.search.decide import make_spec
from rtseg_jax.search.slicing import slice_variables
from rtseg_jax.zoo import RTSeg

PATHS = ("skip", "lir", "mhsa")

SPEC = RTSeg(
    4,
    width=0.25,
    segment_blocks=(1, 1, 1),
    patch_sizes=(2, 1, 1),
    expansion=2,
    mlp_ratio=2,
    head_width=8,
    auxiliary_channels=8,
)
SUPERNET = declare(SPEC)
SIZE = (33, 65)  # odd: padding, patches and resizes meet their edges


@functools.cache
def shapes(network):
    """The variables' shapes, as Flax would make them."""
    images = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    init = functools.partial(SegmentationNetwork(network).init, auxiliary=True)
    return jax.eval_shape(init, jax.random.key(0), images)


def random_variables(network, seed):
    """Every leaf random, variances positive."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        value = rng.standard_normal(leaf.shape)
        if path[-1].key == "var":
            value = 0.3 + np.abs(value)
        elif path[-1].key == "kernel":
            value *= np.sqrt(1.5 / np.prod(leaf.shape[:-1]))
        return value.astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes(network))


def random_images(seed):
    return np.random.default_rng(seed).standard_normal((1, *SIZE, 3)).astype(np.float32)


@functools.cache
def supernet():
    """The masked supernet, compiled once; it returns its two kinds of output."""
    model = SegmentationNetwork(SUPERNET)

    @jax.jit
    def run(variables, images, masks, paths):
        return model.apply(variables, images, Architecture(masks, paths), auxiliary=True)

    return run


def choose(seed):
    """Paths and kept indices: the first seeds are the corners of the space, the others anything."""
    rng = np.random.default_rng(seed)
    names = [mixed.name for mixed in SUPERNET.mixed_blocks]
    kind = ("full", "smallest", "random")[min(seed // 4, 2)]
    same = [*PATHS, None][seed % 4] if seed < 8 else None
    paths = {name: same or str(rng.choice(PATHS)) for name in names}
    kept = {}
    for group in live_groups(SUPERNET, paths):
        number = {"full": group.size, "smallest": group.floor}.get(kind, int(rng.integers(1, group.size + 1)))
        kept[group.name] = np.sort(rng.permutation(group.size)[: max(1, number)])
    return paths, kept


def one_hot(paths):
    return {name: jnp.asarray(np.eye(3, dtype=np.float32)[PATHS.index(path)]) for name, path in paths.items()}


def cut(variables, paths, kept):
    spec = make_spec(SPEC, SUPERNET, {name: len(indices) for name, indices in kept.items()}, paths)
    network = declare_spec(spec)
    return network, slice_variables(variables, SUPERNET, network, kept)


def worst(outputs, logits, auxiliary):
    """Largest difference over the largest logit, over main and auxiliary outputs."""
    pairs = zip((outputs["logits"], *outputs["auxiliary"]), (logits, *auxiliary), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max()) for a, b in pairs)


def masks_of(network, kept):
    """The masks under which the supernet computes what the sliced network computes."""
    searched = {group.name: np.arange(group.size) for group in network.searched_groups}
    return {name: jnp.asarray(np.isin(every, kept.get(name, every)), jnp.float32) for name, every in searched.items()}


def difference(seed, masks=None):
    variables, images = random_variables(SUPERNET, seed), random_images(seed)
    paths, kept = choose(seed)
    network, sliced = cut(variables, paths, kept)
    masked = supernet()(variables, images, masks or masks_of(SUPERNET, kept), one_hot(paths))
    return worst(masked, *numpy_network.run(network, sliced, images))


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_masked_supernet_equals_sliced_network(first):
    differences = {seed: difference(seed) for seed in range(first, first + 10)}
    assert max(differences.values()) <= 1e-5, differences


@pytest.mark.parametrize("seed", [5, 10])
def test_sliced_network_in_flax(seed):
    variables, images = random_variables(SUPERNET, seed), random_images(seed)
    paths, kept = choose(seed)
    network, sliced = cut(variables, paths, kept)
    model = SegmentationNetwork(network)
    assert jax.tree.map(jnp.shape, sliced) == jax.tree.map(jnp.shape, shapes(network))
    run = jax.jit(functools.partial(model.apply, auxiliary=True))
    outputs = run(sliced, images)
    assert worst(outputs, *numpy_network.run(network, sliced, images)) <= 1e-5
    masked = supernet()(variables, images, masks_of(SUPERNET, kept), one_hot(paths))
    assert worst(masked, outputs["logits"], outputs["auxiliary"]) <= 1e-5


def test_every_kind_of_choice_is_among_them():
    drawn = [choose(seed) for seed in range(100)]
    for mixed in SUPERNET.mixed_blocks:
        assert {paths[mixed.name] for paths, _ in drawn} == set(PATHS)
    sizes = {group.name: group.size for group in SUPERNET.searched_groups}
    floors = {group.name: group.floor for group in SUPERNET.searched_groups}
    assert any(all(len(kept[name]) == sizes[name] for name in kept) for _, kept in drawn)
    assert any(all(len(kept[name]) == floors[name] for name in kept) for _, kept in drawn)
    assert {name for _, kept in drawn for name in kept} == set(sizes)


def test_one_forgotten_mask_shows():
    """Each group on its own: if its mask were not applied, the outputs would differ by far more than rounding."""
    seed = 9
    variables, images = random_variables(SUPERNET, seed), random_images(seed)
    for path in ("lir", "mhsa"):
        paths = {mixed.name: path for mixed in SUPERNET.mixed_blocks}
        for group in live_groups(SUPERNET, paths):
            kept = {group.name: np.arange(group.size)[: max(1, group.size // 2)]}
            right = supernet()(variables, images, masks_of(SUPERNET, kept), one_hot(paths))
            leaky = supernet()(variables, images, masks_of(SUPERNET, {}), one_hot(paths))
            assert worst(leaky, right["logits"], right["auxiliary"]) > 1e-3, group.name


def test_masks_before_batch_norm_would_leak():
    """The tempting mistake: a channel that is zero before batch norm comes out of it as its shift, not as zero."""
    seed = 9
    variables, images = random_variables(SUPERNET, seed), random_images(seed)
    paths = {mixed.name: "lir" for mixed in SUPERNET.mixed_blocks}
    kept = {"detail_1_1": np.arange(8)}
    kernel = variables["params"]["detail_1_1"]["conv"]["kernel"]
    leaky = jax.tree.map(lambda leaf: leaf, variables)
    leaky["params"]["detail_1_1"]["conv"]["kernel"] = kernel * np.asarray(masks_of(SUPERNET, kept)["detail_1_1"])
    right = supernet()(variables, images, masks_of(SUPERNET, kept), one_hot(paths))
    wrong = supernet()(leaky, images, masks_of(SUPERNET, {}), one_hot(paths))
    assert worst(wrong, right["logits"], right["auxiliary"]) > 1e-3


def test_slicing_by_hand():
    """The layers of one attention block, index by index."""
    variables = random_variables(SUPERNET, 0)
    paths = {mixed.name: "mhsa" for mixed in SUPERNET.mixed_blocks}
    kept = {group.name: np.arange(group.size) for group in live_groups(SUPERNET, paths)}
    kept["stage8_1_mhsa.heads"] = np.array([1, 3])
    kept["stage8_1_mhsa.tokens"] = np.array([0, 5, 6, 30])
    _, sliced = cut(variables, paths, kept)
    full, small = variables["params"]["stage8_1_mhsa"], sliced["params"]["stage8_1_mhsa"]
    heads = [*range(8, 16), *range(24, 32)]
    tokens = [0, 5, 6, 30]
    np.testing.assert_array_equal(small["query"]["kernel"][0, 0], full["query"]["kernel"][0, 0][np.ix_(tokens, heads)])
    np.testing.assert_array_equal(
        small["project"]["kernel"][0, 0], full["project"]["kernel"][0, 0][np.ix_(heads, tokens)]
    )
    np.testing.assert_array_equal(small["norm_1"]["scale"], full["norm_1"]["scale"][tokens])
    np.testing.assert_array_equal(small["depatch"]["kernel"], full["depatch"]["kernel"][:, :, tokens])
    assert "stage8_1_lir" not in sliced["params"]


def test_nothing_is_cut_where_nothing_is_named():
    variables = random_variables(SUPERNET, 0)
    sliced = slice_variables(variables, SUPERNET, SUPERNET, {})
    jax.tree.map(np.testing.assert_array_equal, sliced, variables)
