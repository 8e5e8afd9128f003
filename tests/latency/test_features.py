"""Features of blocks against counts by hand, and against the project's own MACs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtseg_jax.architecture import Block, Group, NetworkSpec, Tensor, counts, declare
from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Strided
from rtseg_jax.export.spec import FLOAT32
from rtseg_jax.latency.features import (
    CONTEXT_FEATURES,
    TILINGS,
    UNTILED,
    WIDTH_FEATURES,
    block_context,
    block_terms,
    round_up,
    width_features,
)
from rtseg_jax.latency.pricing import feature_table
from rtseg_jax.zoo import BiSeNetV2, RTSeg
from rtseg_jax.zoo.bisenetv2 import conv_block
from rtseg_jax.zoo.rtseg import lir_block, mhsa_block

SIZE = (33, 65)
MACS = [WIDTH_FEATURES.index(f"{kind}_macs") for kind in ("conv", "pointwise", "depthwise", "transpose", "attention")]
NETWORKS = [RTSeg(5, width=0.5), RTSeg(5, width=0.5, block="lir"), BiSeNetV2(5, width=0.5)]


def all_blocks() -> list[Block]:
    return list(dict.fromkeys(block for spec in NETWORKS for block in declare(spec).plain_blocks))


def named(block: Block, precision: str = "float32", **settings: object) -> dict[str, float]:
    widths = width_features(block_terms(block, (32, 64), precision), **settings)  # type: ignore[arg-type]
    return dict(zip((*WIDTH_FEATURES, *CONTEXT_FEATURES), (*widths, *block_context(block, (32, 64))), strict=True))


def builder(kind: str) -> Builder:
    return Builder("x", kind, "segment", Group)


def test_a_cut_window_is_priced_as_it_is_cut():
    x = Tensor("image", (Group("a", 6),), Strided(2))  # 16 × 32 pixels
    b = builder("pool")
    b.pool("pool", x, "average", window=(20, 4), stride=4, padding="VALID", cut=True)
    assert named(b.build())["depthwise_macs"] == (16 * 4) * (1 * 8) * 6  # the window is 16 × 4, at 1 × 8 places


def test_convolution_by_hand():
    x = Tensor("image", (Group("a", 6),), Strided(2))  # 16 × 32 pixels
    found = named(conv_block(builder("conv"), x, Group("b", 10), 2))  # to 8 × 16
    expected = dict.fromkeys(found, 0.0) | {
        "conv_macs": 8 * 16 * 9 * 6 * 10,
        "conv_outputs": 8 * 16 * 10,
        "traffic": 16 * 32 * 6 + 8 * 16 * 10,
        "weights": 9 * 6 * 10,
        "input_channels": 6,
        "output_channels": 10,
        "operators": 1,
        "log_input_pixels": np.log(512),
        "log_output_pixels": np.log(128),
        "log_height": np.log(8),
        "log_stride": np.log(2),
        "log_kernel": np.log(3),
    }
    assert found == pytest.approx(expected, rel=1e-6)


def test_tiles_round_outputs_up_and_nothing_else():
    x = Tensor("image", (Group("a", 6),), Strided(2))
    block = conv_block(builder("conv"), x, Group("b", 10), 2)
    plain, tiled = named(block), named(block, tiles={**UNTILED, "conv": (16, 32)})
    changed = {name for name in plain if plain[name] != tiled[name]}
    assert changed == {"conv_macs", "conv_outputs", "weights"}
    assert tiled["conv_macs"] == 8 * 16 * 9 * 6 * 16
    assert tiled["conv_outputs"] == 8 * 16 * 16
    assert named(block, tiles={**UNTILED, "pointwise": (16, 16), "depthwise": (16, 16)}) == plain


def test_tiles_of_summed_channels_round_what_is_multiplied_up_alone():
    """Kernels of 8 bits sum over eight channels at once; two maps side by side fill them together."""
    maps = tuple(Tensor(name, (Group(name, 6),), Strided(2)) for name in ("a", "b"))
    both = Tensor("both", tuple(group for tensor in maps for group in tensor.groups), Strided(2))
    block = conv_block(builder("conv"), both, Group("c", 10), 2)
    plain, tiled = named(block), named(block, tiles={**UNTILED, "inputs": (8, 8)})
    assert plain["conv_macs"] == 8 * 16 * 9 * 12 * 10
    assert tiled == {**plain, "conv_macs": 8 * 16 * 9 * 16 * 10, "weights": 9 * 16 * 10}


def test_outputs_of_large_kernels_are_rescaled_in_dynamic_files():
    """From 1,024 weights on: 9·6·19 are, 9·6·18 are not; depthwise kernels never."""
    inputs, outputs = Group("a", 6), Group("b", 19)
    block = conv_block(builder("conv"), Tensor("image", (inputs,), Strided(2)), outputs, 2)  # to 8 × 16
    plain, large = named(block), named(block, "dynamic")
    assert large == {**plain, "rescaled": 8 * 16 * 19}
    assert plain["rescaled"] == 0
    fewer = {outputs: 18, inputs: 6}
    assert named(block, "dynamic", kept=fewer.__getitem__)["rescaled"] == 0
    tiles = {**UNTILED, "conv": (16, 32), "inputs": (8, 8)}  # which the number of weights does not depend on
    assert named(block, "dynamic", tiles=tiles)["rescaled"] == 8 * 16 * 32
    assert named(block, "dynamic", tiles=tiles, kept=fewer.__getitem__)["rescaled"] == 0
    x = Tensor("x", (Group("stage", 16),), Strided(8))  # 4 × 8 pixels; kernels of 2,304, 1,024 and 1,024 weights
    assert named(lir_block(builder("lir"), x, 4), "dynamic")["rescaled"] == 32 * (16 + 64 + 16)
    assert named(lir_block(builder("lir"), x, 3), "dynamic")["rescaled"] == 32 * 16


def test_tiles_by_hand():
    """A device that computes 16 channels at once where they are all, 32 otherwise."""
    for count, computed in {1: 16, 16: 16, 17: 32, 32: 32, 33: 64, 96: 96}.items():
        assert round_up(count, 16, 32) == computed
        assert float(round_up(jnp.float32(count), 16.0, 32.0)) == computed
        assert float(round_up(jnp.float32(count + 1e-5), 16.0, 32.0)) == computed
        assert float(jax.grad(lambda x: round_up(x, 16.0, 32.0))(jnp.float32(count))) == 1.0
        assert round_up(count, 1, 1) == count


def test_lir_by_hand():
    x = Tensor("x", (Group("stage", 4),), Strided(8))  # 4 × 8 pixels
    found = named(lir_block(builder("lir"), x, 3))
    assert found["conv_macs"] == 32 * 9 * 4 * 4
    assert found["pointwise_macs"] == 32 * 4 * 12 * 2
    assert found["depthwise_macs"] == 32 * 9 * 12
    assert found["elementwise"] == 32 * 4 * 2
    assert found["traffic"] == 32 * ((4 + 4) + (4 + 12) + (12 + 12) + (12 + 4) + (4 + 4 + 4))
    assert found["inner_channels"] == 4 + 12
    assert found["operators"] == 5


def test_attention_by_hand():
    x = Tensor("x", (Group("stage", 4),), Strided(8))  # 4 × 8 pixels, 2 × 4 = 8 tokens at patch 2
    found = named(mhsa_block(builder("mhsa"), x, patch=2, tokens=16, heads=2, head_width=8, hidden=32))
    assert found["conv_macs"] == 8 * 4 * 4 * 16
    assert found["conv_outputs"] == 8 * 16
    assert found["pointwise_outputs"] == 8 * (16 + 3 * 16 + 32 + 16)
    assert found["transposed"] == 4 * 8 * 16
    assert found["transpose_macs"] == 8 * 4 * 16 * 4
    assert found["attention_macs"] == 2 * 8 * 8 * 16
    assert found["attention_scores"] == 8 * 8 * 2
    assert found["normalized"] == 2 * 8 * 16
    assert found["activation"] == 8 * 32
    assert found["pointwise_macs"] == 8 * (4 * 16 * 16 + 2 * 16 * 32)


@pytest.mark.parametrize("block", all_blocks(), ids=lambda block: f"{block.kind}-{block.name}")
def test_mac_features_add_up_to_the_counted_macs(block: Block):
    pooled = sum(
        9 * counts.pixels(op.output, SIZE) * op.output.channels
        for op in block.ops
        if type(op).__name__ == "Pool" and op.kind == "average"  # exported as a convolution, not counted in tables
    )
    found = float(np.asarray(width_features(block_terms(block, SIZE, FLOAT32)), np.float64)[MACS].sum())
    assert found == pytest.approx(counts.block_macs(block, SIZE) + pooled, rel=1e-6)


@pytest.mark.parametrize("precision", ["float32", "dynamic"])
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: getattr(spec, "block", spec.name))
def test_table_equals_block_features_at_partial_widths(spec: NetworkSpec, precision: str):
    blocks = declare(spec).plain_blocks
    generator = np.random.default_rng(0)
    kept = {
        g: int(generator.integers(1, g.size + 1))
        for b in blocks
        for op in b.ops
        for t in (*op.inputs, op.output)
        for g in t.groups
    }
    table = feature_table([block_terms(block, SIZE, precision) for block in blocks])
    order = {(group.name, group.size): number for group, number in kept.items()}
    vector = jnp.asarray(
        [order[name, size] for name, size in zip(table.groups, table.sizes.tolist(), strict=True)], jnp.float32
    )
    tiles = {"conv": (8, 16), "pointwise": (4, 4), "depthwise": (16, 16), "inputs": (8, 8)}
    found = np.asarray(table(vector, jnp.asarray([tiles[tiling] for tiling in TILINGS], jnp.float32)))
    for row, block in zip(found, blocks, strict=True):
        expected = width_features(block_terms(block, SIZE, precision), kept.__getitem__, tiles)
        np.testing.assert_allclose(row, expected, rtol=1e-5, err_msg=block.name)
    assert found[:, WIDTH_FEATURES.index("rescaled")].any() == (precision == "dynamic")


@pytest.mark.parametrize("block", all_blocks(), ids=lambda block: f"{block.kind}-{block.name}")
def test_features_never_fall_and_something_rises_with_every_group(block: Block):
    groups = {g for op in block.ops for t in (*op.inputs, op.output) for g in t.groups}

    def features(values: dict[str, jax.Array]) -> jax.Array:
        terms = block_terms(block, SIZE, FLOAT32)
        return jnp.stack([jnp.float32(x) for x in width_features(terms, lambda g: values.get(g.name, g.size))])

    slopes = jax.jacobian(features)({g.name: jnp.float32(g.size) for g in groups})
    for name, slope in slopes.items():
        assert (np.asarray(slope) >= 0).all(), name
        # The head reads of the image nothing but its size.
        assert slope[WIDTH_FEATURES.index("traffic")] > 0 or (block.kind, name) == ("head", "image"), name


def test_every_block_has_finite_context():
    for block in all_blocks():
        assert np.isfinite(block_context(block, SIZE)).all(), block.name
