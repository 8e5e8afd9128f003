"""SwiftNet (Oršić et al. 2019), single scale on ResNet-18, after the authors' code.

Skips are taken behind the ReLU, as in that code, where the ReLU works in place; the paper draws them before it.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Rows
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo import resnet
from rtseg_jax.zoo.resnet import preactivated

WIDTH = 128
ROWS, LEVEL = (8, 4, 2), 42  # rows of the pyramid's grids, channels of each

PUBLISHED = Published(
    "SwiftNet",
    "Oršić et al. 2019",
    "ED",
    "single scale on ResNet-18; skips behind the ReLU, as in the authors' code",
    (
        Score("Cityscapes", "val", 75.4, "survey", pretrained=True),
        Score("Cityscapes", "test", 75.5, "survey", pretrained=True),
        Score("CamVid", "test", 72.6, "survey"),
    ),
    speeds=survey_speeds(74.6, 247.8, 364.5, 48.0),
)


@dataclasses.dataclass(frozen=True)
class SwiftNet(NetworkSpec, name="swiftnet", published=PUBLISHED):
    """SwiftNet on ResNet-18."""

    def declare(self) -> Network:
        """Encoder to 1/32, pyramid, three steps up to 1/4."""
        n = Sketch(self.num_classes)
        x = resnet.stem(n.block("stem", "stem", "encoder"), n.image)
        *skips, x = resnet.basic_rows(n, x)
        x = pyramid(n.block("pyramid", "swiftnet_pyramid", "pyramid"), x)
        for step, skip in enumerate(reversed(skips), start=1):
            b = n.block(f"up_{step}", "swiftnet_up", "decoder")
            x = b.sum("sum", preactivated(b, "skip", skip, WIDTH), b.resize("up", x, skip))
            x = preactivated(b, "blend", x, WIDTH, kernel=3)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, b.norm("norm", x, "relu")), n.image)
        return n.network()


def pyramid(b: Builder, x: Tensor) -> Tensor:
    """Means over grids whose columns follow the picture's shape, beside the map."""
    x = preactivated(b, "reduce", x, WIDTH)
    levels = [x]
    for rows in ROWS:
        y = preactivated(b, f"level_{rows}", b.bins(f"bins_{rows}", x, Rows(rows)), LEVEL)
        levels.append(b.resize(f"up_{rows}", y, x))
    return preactivated(b, "join", b.concat("concat", *levels), WIDTH)
