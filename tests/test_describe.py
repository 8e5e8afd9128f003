"""Descriptions, against numbers worked out by hand."""

import math

import jax
import pytest

from rtseg_jax.architecture import Group, Tensor, counts, declare, graph, operators
from rtseg_jax.architecture.extents import Strided
from rtseg_jax.config import base_config, run_spec
from rtseg_jax.describe import allowed_widths, describe, groups_by_part, search_space_log10, training_elements
from rtseg_jax.zoo import RTSeg


def row(text, name):
    (line,) = (line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


@pytest.fixture(scope="module")
def published():
    return describe(run_spec(base_config()))


def test_parts_of_the_supernet(published):
    # detail branch: five convolutions of 64 · 2.19 = 8 · 17.5 → 144 channels, three of 128 · 2.19 = 8 · 35.04 → 280
    assert row(published, "detail") == ["2.528", "57.850", "8", f"{5 * 144 + 3 * 280:,}"]
    assert row(published, "inference network")[:2] == ["24.490", "137.542"]


def test_tokens(published):
    # P = 2 at 1/8 gives 1/16: 32 × 64 tokens of 2² · round(32 · 2.19 / 8) · 8 = 4 · 72 channels, 9 heads of 32
    assert row(published, "1/8") == ["2", "2", "32 × 64 = 2048", "288", "9"]
    assert row(published, "1/32") == ["3", "1", "16 × 32 = 512", "280", "9"]


def test_schedule_and_target(published):
    assert row(published, "uniform") == ["240,000", "15,360,000", "0.1", "yes"]
    assert published.endswith("Latency target: 0.3 of the supernet's own, at 512×1024 on host_cpu, 1 thread")


def test_target_in_milliseconds():
    config = base_config()
    config.latency.target_ms = 12.5
    assert "Latency target: 12.5 ms at 512×1024" in describe(run_spec(config))


def test_target_of_a_budget():
    config = base_config()
    config.budget = "gmacs:5.7"
    assert describe(run_spec(config)).endswith("Target: 5.7 GMACs at 512×1024")


@pytest.mark.parametrize(
    ("group", "widths"),
    [
        (Group("channels", 16), (4, 8, 12, 16)),  # multiples of four, never fewer than four
        (Group("odd", 10), (4, 8, 10)),  # and all of them
        (Group("heads", 3, 32), (1, 2, 3)),  # whole heads
        (Group("small", 2), (2,)),
    ],
)
def test_allowed_widths(group, widths):
    assert allowed_widths(group) == widths


def test_search_space_without_mixed_blocks_is_the_product_of_widths():
    network = declare(RTSeg(11, block="lir", width=0.5, segment_blocks=(1, 1, 1)))
    sizes = [group.size for group in network.searched_groups]
    assert all(size % 4 == 0 for size in sizes)
    assert search_space_log10(network) == pytest.approx(sum(math.log10(size // 4) for size in sizes))


def test_every_mixed_block_multiplies_by_three():
    with_block = declare(RTSeg(11, segment_blocks=(1, 0, 0), width=0.5))
    without = declare(RTSeg(11, segment_blocks=(0, 0, 0), width=0.5))
    own = set(with_block.searched_groups) - set(without.searched_groups)
    widths = sum(math.log10(len(allowed_widths(group))) for group in own)
    assert search_space_log10(with_block) - search_space_log10(without) == pytest.approx(widths + math.log10(3))


def test_parts_own_every_searched_group_once():
    network = declare(RTSeg(11, width=0.5))
    owned = [group for groups in groups_by_part(network).values() for group in groups]
    assert len(owned) == len(set(owned))
    assert set(owned) == set(network.searched_groups)


def test_kept_elements_by_hand():
    image = Tensor("image", (Group("image", 3, searched=False),), Strided(1))
    conv = Tensor("conv", (Group("conv", 8),), Strided(2))
    heads = Tensor("heads", (Group("heads", 2, 4),), Strided(2))
    ops = (
        operators.Conv(
            "conv", (image,), conv, (3, 3), 2, activation="relu"
        ),  # 2 · (4 · 6 · 8), before and after batch norm
        operators.Conv("query", (conv,), heads, (1, 1), bias=True, norm=False),  # 4 · 6 · 8
        operators.Attention("attention", (heads, heads, heads), heads),  # 4 · 6 · 8, and 24² weights for two heads
    )
    network = graph.Network(image, (graph.Block("block", "mhsa", "segment", ops),), ())
    inside = 2 * 192 + 192 + 192 + 2 * 24**2
    assert training_elements(network, (8, 12)) == inside
    assert training_elements(network, (8, 12), rematerialize=True) == 192 + inside  # and what the block hands on


def test_memory_is_shared_by_the_devices():
    config = base_config()
    config.network.block, config.network.width = "lir", 0.25
    config.loss.lam = 0.0
    config.batch_size = 8
    spec = run_spec(config)
    network = declare(spec.network)
    weights = 4 * (counts.parameters(network) + sum(counts.block_parameters(block) for block in network.auxiliary))
    pictures = 8 // jax.device_count()
    activations = 4 * pictures * training_elements(network, (512, 1024))
    text = describe(spec)
    assert row(text, "sum") == [f"{(3 * weights + activations) / 1e6:,.0f}"]
    assert "teacher" not in text
    assert f"activations of {pictures} pictures" in text
    config.mesh.fsdp = 4
    parts = describe(run_spec(config))
    assert [row(parts, name) for name in ("momentum", "gathered parameters")] == [
        [f"{weights / 4 / 1e6:,.0f}"],
        [f"{weights / 1e6:,.0f}"],
    ]
