"""ContextNet (Poudel et al. 2018), with the layers of the PyTorch code most used; the authors published none.

It is the paper's cn14: the deep branch sees a quarter of the picture. Stems are not padded.
"""

import dataclasses

from rtseg_jax.architecture.extents import Scaled
from rtseg_jax.architecture.graph import Network
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score, survey_speeds
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.fast_scnn import fusion, separable
from rtseg_jax.zoo.mobilenetv2 import inverted_residual

ROWS = ((1, 32, 1, 1), (6, 32, 1, 1), (6, 48, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1), (6, 128, 2, 1))
"""Expansion, channels, blocks, stride of the first."""

PUBLISHED = Published(
    "ContextNet",
    "Poudel et al. 2018",
    "MB",
    "cn14 with unpadded stems; without the auxiliary head of training",
    (Score("Cityscapes", "val", 65.9, "survey"),),
    speeds=survey_speeds(177.3, 319.7, 336.1, 77.1),
)


@dataclasses.dataclass(frozen=True)
class ContextNet(NetworkSpec, name="contextnet", published=PUBLISHED):
    """ContextNet.

    Attributes:
      dropout: rate before the classifier.
    """

    dropout: float = 0.1

    def declare(self) -> Network:
        """A shallow branch on the picture, a deep one on a quarter of it, fusion, classifier."""
        n = Sketch(self.num_classes)
        b = n.block("detail", "separable", "detail")
        x = b.conv("conv", n.image, 32, stride=2, padding="VALID", activation="relu")
        x = separable(b, "separable_1", x, 64, stride=2)
        x = separable(b, "separable_2", x, 128, stride=2)
        detail = separable(b, "separable_3", x, 128)
        b = n.block("context_stem", "stem", "context")
        x = b.resize("quarter", n.image, Scaled(1, 4), align_corners=True)
        x = b.conv("conv", x, 32, stride=2, padding="VALID", activation="relu")
        for row, (expansion, channels, blocks, stride) in enumerate(ROWS, start=1):
            for i in range(1, blocks + 1):
                b = n.block(f"context_{row}_{i}", "inverted_residual", "context")
                if expansion == 1:
                    x = b.conv("expand", x, x.channels, kernel=1, activation="relu")
                x = inverted_residual(b, x, channels, expansion, stride if i == 1 else 1, activation="relu")
        x = fusion(n.block("fusion", "fusion", "fusion"), detail, x, 128)
        b = n.block("head", "head", "head")
        x = separable(b, "separable_1", x, 128)
        x = separable(b, "separable_2", x, 128)
        x = n.classifier(b, b.dropout("dropout", x, self.dropout))
        b.resize("logits", x, n.image, align_corners=True)
        return n.network()
