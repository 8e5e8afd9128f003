"""ESPNet (Mehta et al. 2018), after the authors' code for training: its first level sees the picture once more."""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.errors import UserError

DILATIONS = (1, 2, 4, 8, 16)

PUBLISHED = Published(
    "ESPNet",
    "Mehta et al. 2018",
    "ED",
    "2 and 8 modules, as published; the repository's default has 3 instead of 8",
    (Score("Cityscapes", "test", 60.3, "survey", pretrained=False),),
    speeds=survey_speeds(88.0, 330.7, 412.9, 74.6),
)


@dataclasses.dataclass(frozen=True)
class ESPNet(NetworkSpec, name="espnet", published=PUBLISHED):
    """ESPNet.

    Attributes:
      modules: at 1/4 and at 1/8.
    """

    modules: tuple[int, int] = (2, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_classes < len(DILATIONS):
            raise UserError(
                f"network.num_classes is {self.num_classes}: ESPNet's decoder splits the classes among "
                f"{len(DILATIONS)} convolutions and needs at least as many"
            )

    def declare(self) -> Network:
        """Encoder to 1/8, the picture beside its first levels; decoder of as many channels as classes."""
        n = Sketch(self.num_classes, epsilon=1e-3)
        pictures = [n.image]
        for level in (1, 2):
            b = n.block(f"picture_{level}", "average_pool", "picture")
            pictures.append(b.pool("pool", pictures[-1], "average"))
        b = n.block("level1", "stem", "encoder")
        x = b.conv("conv", n.image, 16, stride=2, activation="prelu")
        first = b.norm("norm", b.concat("concat", x, pictures[1]), "prelu")
        start, x = self._level(n, 2, first, 64, self.modules[0])
        b = n.block("level2_join", "join", "encoder")
        second = b.norm("norm", b.concat("concat", x, start, pictures[2]), "prelu")
        start, x = self._level(n, 3, second, 128, self.modules[1])
        b = n.block("level3_join", "join", "encoder")
        x = b.norm("norm", b.concat("concat", start, x), "prelu")
        c = self.num_classes
        x = b.norm("classes_norm", b.conv("classes", x, c, kernel=1, norm=False))
        b = n.block("decoder2", "esp_decoder", "decoder")
        x = b.transpose("up", x, c, kernel=2, stride=2, like=second, norm=False)
        x = b.concat("concat", b.conv("skip", second, c, kernel=1, norm=False), x)
        x = pyramid(b, b.norm("norm", x, "prelu"), c)
        b = n.block("decoder1", "esp_decoder", "decoder")
        x = b.transpose("up", x, c, kernel=2, stride=2, like=first, activation="prelu")
        x = b.conv("conv", b.concat("concat", x, first), c, activation="prelu")
        b = n.block("head", "head", "head")
        b.resize("logits", n.transposed_classifier(b, x, bias=False), n.image)
        return n.network()

    def _level(self, n: Sketch, level: int, x: Tensor, channels: int, modules: int) -> tuple[Tensor, Tensor]:
        """What its downsampling and its last module write."""
        start = x = pyramid(n.block(f"level{level}_down", "esp_down", "encoder"), x, channels, stride=2)
        for i in range(1, modules + 1):
            b = n.block(f"level{level}_{i}", "esp", "encoder")
            x = pyramid(b, x, channels, residual=True)
        return start, x


def pyramid(b: Builder, x: Tensor, channels: int, *, stride: int = 1, residual: bool = False) -> Tensor:
    """Efficient spatial pyramid: few channels through five dilations, whose sums stand side by side."""
    few = channels // len(DILATIONS)
    y = b.conv("reduce", x, few, kernel=1 if stride == 1 else 3, stride=stride, norm=False)
    parts = [b.conv("conv_1", y, channels - few * (len(DILATIONS) - 1), norm=False)]
    for dilation in DILATIONS[1:]:
        z = b.conv(f"conv_{dilation}", y, few, dilation=dilation, norm=False)
        # The undilated branch stays out of the running sum.
        parts.append(b.sum(f"sum_{dilation}", parts[-1], z) if len(parts) > 1 else z)
    y = b.concat("concat", *parts)
    return b.norm("norm_out", b.sum("sum", x, y) if residual else y, "prelu")
