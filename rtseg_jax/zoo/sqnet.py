"""SQNet (Treml et al. 2016), with the layers of the larger of the two PyTorch families; the authors published none.

Pooling rounds odd sizes up, so that what is enlarged can be cropped to the skip; that code resizes instead.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

STAGES = ((16, 64, 2), (32, 128, 2), (64, 256, 3))
"""Squeezed channels, channels of each expansion, fire modules."""

PUBLISHED = Published(
    "SQNet",
    "Treml et al. 2016",
    "ED",
    "the larger of two families of ports (16.3 and 4.8 million parameters); which one is the paper's is not known",
    (Score("Cityscapes", "test", 59.8, "survey"),),
    speeds=survey_speeds(15.9, 59.4, 205.5, 10.7),
)


@dataclasses.dataclass(frozen=True)
class SQNet(NetworkSpec, name="sqnet", published=PUBLISHED):
    """SQNet."""

    def declare(self) -> Network:
        """Fire modules to 1/16, four dilations summed, refinement by transposed convolutions; no norm anywhere."""
        n = Sketch(self.num_classes, bias=True)
        x = convolution(n.block("stem", "stem", "encoder"), "conv", n.image, 96, stride=2)
        skips = []
        for stage, (squeezed, expanded, modules) in enumerate(STAGES, start=1):
            skips.append(x)
            x = n.block(f"pool_{stage}", "max_pool", "encoder").pool("pool", x, "max", window=2, padding="SAME")
            for i in range(1, modules + 1):
                x = fire(n.block(f"stage{stage}_{i}", "fire", "encoder"), x, squeezed, expanded)
        b = n.block("parallel", "parallel_dilated", "encoder")
        x = b.sum("sum", *(convolution(b, f"conv_{d}", x, x.channels, dilation=d) for d in (1, 2, 3, 4)))
        for level in range(len(skips), 0, -1):
            x = refinement(n.block(f"refine_{level}", "sqnet_refinement", "decoder"), x, skips[level - 1])
        b = n.block("head", "head", "head")
        b.resize("logits", n.transposed_classifier(b, x, kernel=3), n.image)
        return n.network()


def convolution(
    b: Builder, name: str, x: Tensor, channels: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> Tensor:
    """With bias and ELU."""
    return b.conv(name, x, channels, kernel=kernel, stride=stride, dilation=dilation, norm=False, activation="elu")


def fire(b: Builder, x: Tensor, squeezed: int, expanded: int) -> Tensor:
    """Few channels, expanded by 1×1 and 3×3 side by side."""
    y = convolution(b, "squeeze", x, squeezed, kernel=1)
    return b.concat(
        "concat", convolution(b, "expand_1", y, expanded, kernel=1), convolution(b, "expand_3", y, expanded)
    )


def refinement(b: Builder, x: Tensor, skip: Tensor) -> Tensor:
    """The deep map enlarged to the skip's channels, mixed with the skip."""
    c = skip.channels
    x = b.transpose("up", x, c, kernel=3, stride=2, like=skip, norm=False, activation="elu")
    x = b.concat("concat", convolution(b, "skip", skip, c), x)
    return convolution(b, "mix", x, x.channels)
