"""DABNet (Li et al. 2019), after the authors' PyTorch code.

Max-pooling rounds odd sizes up, as convolutions do; there it rounds them down and fails.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch

FIRST = (2, 2, 2)
SECOND = (4, 4, 8, 8, 16, 16)
"""Dilations of the blocks at 1/4 and at 1/8."""

PUBLISHED = Published(
    "DABNet",
    "Li et al. 2019",
    "ED",
    "the authors' layers; their own text calls the 70.1 that the survey has for val the test score",
    (
        Score("Cityscapes", "val", 70.1, "survey", pretrained=False),
        Score("Cityscapes", "test", 69.1, "survey", pretrained=False),
        Score("CamVid", "test", 66.4, "survey", pretrained=False),
    ),
    speeds=survey_speeds(59.1, 225.4, 272.7, 52.7),
)


@dataclasses.dataclass(frozen=True)
class DABNet(NetworkSpec, name="dabnet", published=PUBLISHED):
    """DABNet."""

    def declare(self) -> Network:
        """Two stages of depthwise asymmetric bottlenecks, the picture beside each."""
        n = Sketch(self.num_classes, epsilon=1e-3)
        pictures = [n.image]
        for level in (1, 2, 3):
            b = n.block(f"picture_{level}", "average_pool", "picture")
            pictures.append(b.pool("pool", pictures[-1], "average"))
        b = n.block("stem", "stem", "encoder")
        x = b.conv("conv_1", n.image, 32, stride=2, activation="prelu")
        x = b.conv("conv_2", x, 32, activation="prelu")
        x = b.conv("conv_3", x, 32, activation="prelu")
        x = b.norm("norm", b.concat("concat", x, pictures[1]), "prelu")
        b = n.block("down_1", "dabnet_down", "encoder")
        y = b.conv("conv", x, 64 - x.channels, stride=2, norm=False)
        z = b.pool("pool", x, "max", window=2, padding="SAME")
        start = x = b.norm("norm", b.concat("concat", y, z), "prelu")
        for i, dilation in enumerate(FIRST, start=1):
            x = bottleneck(n.block(f"stage1_{i}", "asymmetric_bottleneck", "encoder"), x, dilation)
        b = n.block("join_1", "join", "encoder")
        x = b.norm("norm", b.concat("concat", x, start, pictures[2]), "prelu")
        b = n.block("down_2", "dabnet_down", "encoder")
        start = x = b.conv("conv", x, 128, stride=2, activation="prelu")
        for i, dilation in enumerate(SECOND, start=1):
            x = bottleneck(n.block(f"stage2_{i}", "asymmetric_bottleneck", "encoder"), x, dilation)
        b = n.block("join_2", "join", "encoder")
        x = b.norm("norm", b.concat("concat", x, start, pictures[3]), "prelu")
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x, bias=False), n.image)
        return n.network()


def bottleneck(b: Builder, x: Tensor, dilation: int) -> Tensor:
    """Half the channels through a plain and a dilated pair of depthwise 3×1 and 1×3, plus the input."""
    y = b.conv("reduce", b.norm("norm_1", x, "prelu"), x.channels // 2, activation="prelu")
    branches = []
    for name, distance in (("plain", 1), ("dilated", dilation)):
        z = b.conv(f"{name}_rows", y, kernel=(3, 1), dilation=distance, activation="prelu")
        branches.append(b.conv(f"{name}_columns", z, kernel=(1, 3), dilation=distance, activation="prelu"))
    y = b.norm("norm_2", b.sum("sum_1", *branches), "prelu")
    return b.sum("sum_2", x, b.conv("expand", y, x.channels, kernel=1, norm=False))
