"""HyperSeg-S (Nirkin et al. 2021), after the authors' code in its configuration for Cityscapes.

The decoder's weights are not learned but computed from the picture, for each cell of 32 × 32 pixels its own. Sides of
pictures must be multiples of 32. Kernels lie in another order within the computed numbers than in that code.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder, fixed
from rtseg_jax.architecture.extents import IMAGE, Pads, Scaled
from rtseg_jax.architecture.graph import Groups, Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

ROWS = (  # kernel, channels, blocks, stride of the first, expansion
    (3, 16, 2, 1, 1),
    (3, 24, 3, 2, 6),
    (5, 40, 3, 2, 6),
    (3, 80, 4, 2, 6),
    (5, 112, 4, 1, 6),
    (5, 192, 5, 2, 6),
    (3, 320, 2, 1, 6),
)
"""EfficientNet-B1."""

BEHIND: Pads = ((0, 1), (0, 1))
PADS: dict[int, Pads] = {1: BEHIND, 2: ((1, 2), (1, 2)), 3: BEHIND, 5: ((2, 2), (2, 2))}
"""Of the strided layer of a row, from 0: TensorFlow's for pictures of 240 pixels, whatever the size."""

STEM, TOP, CONTEXT = 32, 1280, 640
SQUEEZE = 4
SKIPS = ((6, 128), (4, 28), (2, 8), (1, 4))  # row from 0, channels that its map is brought to; the map at 1/2 stays
PLAIN_LEVELS = ((32, 32), (16, 16), (8, 8))
"""At 1/32, 1/16, 1/8: groups of the convolution that makes kernels of the signal, channels made."""

LAST_GROUPS = 16
PATCHED_LEVELS = ((28, 8), (52, 0))  # at 1/4 and 1/2: inner channels, channels made; 0: classes
PATCHED = (Scaled(5, 16, IMAGE), Scaled(9, 16, IMAGE))
"""Sizes of maps at 1/4 and 1/2 whose cells have a frame of one pixel."""

PUBLISHED = Published(
    "HyperSeg-S",
    "Nirkin et al. 2021",
    "ML",
    "EfficientNet-B1, the configuration for Cityscapes; the published score is at 768×1536",
    (
        Score("Cityscapes", "val", 78.2, "survey", pretrained=True),
        Score("Cityscapes", "test", 78.1, "survey", pretrained=True),
    ),
    speeds=survey_speeds(19.1, 63.7, 90.7, 18.3),
)


@dataclasses.dataclass(frozen=True)
class HyperSegS(NetworkSpec, name="hyperseg_s", published=PUBLISHED):
    """HyperSeg-S."""

    def declare(self) -> Network:
        """Trunk to 1/32, context, and a decoder whose kernels follow from it."""
        n = Sketch(self.num_classes)
        maps = trunk(n)
        b = n.block("top", "conv", "encoder", epsilon=1e-3)
        deepest = b.conv("conv", maps[-1], TOP, kernel=1, activation="silu")
        signal = context(n.block("context", "hyperseg_context", "context"), deepest)
        skips = [
            n.block(f"skip_{row + 1}", "conv", "decoder").conv("conv", maps[row], channels, kernel=1)
            for row, channels in SKIPS
        ]
        x: Tensor | None = None
        for level, (skip, (groups, channels)) in enumerate(zip(skips, PLAIN_LEVELS, strict=False)):
            b = n.block(f"level_{level + 1}", "hyper_conv", "decoder")
            y = joined(b, skip, x)
            start, stop = SLICES[level]
            part = b.split("slice", signal, start, stop)
            kernels = b.conv("kernels", part, y.channels * channels, kernel=1, groups=groups, norm=False)
            x = b.norm("norm", b.cell_conv("conv", y, kernels, channels), "relu")
        assert x is not None
        return self._last_levels(n, signal, [skips[-1], maps[0]], x)

    def _last_levels(self, n: Sketch, signal: Tensor, skips: list[Tensor], x: Tensor) -> Network:
        """Inverted residuals on patches; their kernels come out of one convolution."""
        sizes, given = [], x.channels
        for skip, (inner, made) in zip(skips, PATCHED_LEVELS, strict=True):
            given, read = made or self.num_classes, given + 2 + skip.channels
            sizes += [read * inner, 9 * inner, inner * given]
        groups = tuple(fixed(f"kernels_{i}", size) for i, size in enumerate(sizes, start=1))
        unused = -sum(sizes) % LAST_GROUPS
        groups += (fixed("kernels_unused", unused),) if unused else ()
        b = n.block("kernels", "conv", "decoder")
        kernels = b.conv(
            "conv", b.split("slice", signal, *SLICES[-1]), groups, kernel=1, groups=LAST_GROUPS, norm=False
        )
        for level, (skip, (inner, made), extent) in enumerate(zip(skips, PATCHED_LEVELS, PATCHED, strict=True)):
            b = n.block(f"level_{level + 4}", "hyper_inverted_residual", "decoder")
            parts = [b.split(f"slice_{i}", kernels, 3 * level + i, 3 * level + i + 1) for i in range(3)]
            y = b.patches("patches", joined(b, skip, x), kernels, extent)
            y = b.norm("expand_norm", b.cell_conv("expand", y, parts[0], inner), "relu6")
            y = b.norm("depthwise_norm", b.cell_depthwise("depthwise", y, parts[1], skip.extent), "relu6")
            x = b.norm("norm", b.cell_conv("project", y, parts[2], made or n.classes))
        b.resize("logits", x, n.image)
        return n.network()


def trunk(n: Sketch) -> list[Tensor]:
    """EfficientNet-B1 without its classifier; the last map of every row."""
    b = n.block("stem", "stem", "encoder", epsilon=1e-3)
    x = b.conv("conv", n.image, STEM, stride=2, padding=BEHIND, activation="silu")
    maps = []
    for row, (kernel, channels, blocks, stride, expansion) in enumerate(ROWS):
        for i in range(1, blocks + 1):
            b = n.block(f"row{row + 1}_{i}", "squeezed_residual", "encoder", epsilon=1e-3)
            strided = stride > 1 and i == 1
            x = residual(b, x, kernel, channels, expansion, stride if i == 1 else 1, PADS[row] if strided else None)
        maps.append(x)
    return maps


def residual(
    b: Builder, x: Tensor, kernel: int, channels: int, expansion: int, stride: int, padding: Pads | None
) -> Tensor:
    """EfficientNet's block: expansion, depthwise convolution, a gate of its mean, projection; plus the input."""
    y = x if expansion == 1 else b.conv("expand", x, x.channels * expansion, kernel=1, activation="silu")
    y = b.conv("depthwise", y, kernel=kernel, stride=stride, padding=padding, activation="silu")
    gate = b.mean("mean", y)
    gate = b.conv("squeeze", gate, x.channels // SQUEEZE, kernel=1, bias=True, norm=False, activation="silu")
    y = b.gate("gated", y, b.conv("excite", gate, y.channels, kernel=1, bias=True, norm=False))
    y = b.conv("project", y, channels, kernel=1)
    return b.sum("sum", x, y) if stride == 1 and x.channels == channels else y


def context(b: Builder, x: Tensor) -> Tensor:
    """The signal that kernels are made of, at 1/32, in groups of channels that its slices take."""
    near: Groups = (fixed("signal_1", 576), fixed("signal_2", 64))
    far: Groups = (fixed("signal_3", 64), fixed("signal_4", 64), fixed("signal_5", 512))
    fine = b.conv("fine", x, near, kernel=1, activation="relu")
    down = b.conv("down", fine, CONTEXT, kernel=2, stride=2, padding="VALID", activation="relu")
    both = b.concat("concat", down, b.resize("mean_up", b.mean("mean", down), down, "nearest"))
    y = b.resize("up", b.conv("join", both, far, kernel=1, activation="relu"), fine, "nearest")
    return b.concat("signal", fine, y)


SLICES = ((0, 1), (1, 3), (3, 4), (4, 5))
"""Groups of the signal that each level takes; the last one is for both patched levels."""


def joined(b: Builder, skip: Tensor, x: Tensor | None) -> Tensor:
    """Where each pixel is, the trunk's map, and the level before."""
    parts = [b.coordinates("coordinates", skip), skip]
    if x is not None:
        parts.append(b.resize("up", x, skip))
    return b.concat("concat", *parts)
