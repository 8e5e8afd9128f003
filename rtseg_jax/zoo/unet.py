"""U-Net (Ronneberger et al. 2015) as in milesial's PyTorch code, which is what the name stands for today.

The paper's has no batch norm, no padding and one input channel. Pools round odd sizes up here, where that code rounds
them down and pads later; sizes that are multiples of 16 see no difference.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published
from rtseg_jax.architecture.sketch import Sketch

WIDTHS = (64, 128, 256, 512, 1024)

PUBLISHED = Published(
    "U-Net",
    "Ronneberger et al. 2015",
    "ED",
    "milesial's layers, with transposed convolutions: batch norm and padding, which the paper has not",
)


@dataclasses.dataclass(frozen=True)
class UNet(NetworkSpec, name="unet", published=PUBLISHED):
    """U-Net."""

    def declare(self) -> Network:
        """Four times down, four times up beside the map of that size."""
        n = Sketch(self.num_classes)
        x, skips = n.image, []
        for level, channels in enumerate(WIDTHS):
            b = n.block(f"down_{level}", "unet_down" if level else "unet_start", "encoder")
            if level:
                x = b.pool("pool", x, "max", window=2, padding="SAME")
            x = double(b, x, channels)
            skips.append(x)
        for level, skip in enumerate(reversed(skips[:-1]), start=1):
            b = n.block(f"up_{level}", "unet_up", "decoder")
            y = b.transpose("up", x, skip.channels, kernel=2, stride=2, like=skip, bias=True, norm=False)
            x = double(b, b.concat("concat", skip, y), skip.channels)
        b = n.block("head", "head", "head")
        b.resize("logits", n.classifier(b, x), n.image)
        return n.network()


def double(b: Builder, x: Tensor, channels: int) -> Tensor:
    """Two 3×3 convolutions."""
    x = b.conv("conv_1", x, channels, activation="relu")
    return b.conv("conv_2", x, channels, activation="relu")
