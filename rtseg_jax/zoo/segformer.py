"""SegFormer-B0 (Xie et al. 2021), after the authors' PyTorch code; a token is a pixel, a dense layer a 1×1 convolution.

Training there drops whole residual branches at random (up to a tenth of them); here they stay.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch

STAGES = ((32, 7, 4, 1, 8), (64, 3, 2, 2, 4), (160, 3, 2, 5, 2), (256, 3, 2, 8, 1))
"""Channels, kernel and stride of the patch embedding, heads, stride of keys and values."""

BLOCKS = 2
MLP_RATIO = 4
HEAD_CHANNELS = 256
BLOCK_EPSILON = 1e-6
"""Of layer norms before attention, before the perceptron and after a stage; embeddings have 1e-5."""

PUBLISHED = Published(
    "SegFormer-B0",
    "Xie et al. 2021",
    "",
    "the authors' layers, without the classifier of the trunk that nothing reads",
    (Score("Cityscapes", "val", 71.9, "RTSeg", pretrained=True),),
)


@dataclasses.dataclass(frozen=True)
class SegFormerB0(NetworkSpec, name="segformer_b0", published=PUBLISHED):
    """SegFormer-B0.

    Attributes:
      dropout: rate of whole maps before the classifier.
      drop_path: rate at which the last layer's branches are left out in training; it rises evenly from 0.
    """

    dropout: float = 0.1
    drop_path: float = 0.1

    def declare(self) -> Network:
        """Four stages of transformer layers at 1/4 to 1/32, and a head of 1×1 convolutions."""
        n = Sketch(self.num_classes, bias=True)
        x = n.image
        maps = []
        for stage, (channels, kernel, stride, heads, reduction) in enumerate(STAGES, start=1):
            b = n.block(f"embed_{stage}", "patch_embedding", "trunk")
            x = b.layer_norm("norm", b.conv("conv", x, channels, kernel=kernel, stride=stride, norm=False))
            for i in range(1, BLOCKS + 1):
                b = n.block(f"stage{stage}_{i}", "reduced_attention", "trunk")
                rate = self.drop_path * (BLOCKS * (stage - 1) + i - 1) / (BLOCKS * len(STAGES) - 1)
                x = transformer(b, x, heads, reduction, rate)
            x = n.block(f"norm_{stage}", "layer_norm", "trunk").layer_norm("norm", x, BLOCK_EPSILON)
            maps.append(x)
        b = n.block("head", "head", "head")
        levels = []
        for level in range(len(maps), 0, -1):
            y = b.conv(f"level_{level}", maps[level - 1], HEAD_CHANNELS, kernel=1, norm=False)
            levels.append(b.resize(f"up_{level}", y, maps[0]))
        y = b.concat("concat", *levels)
        y = b.conv("mix", y, HEAD_CHANNELS, kernel=1, bias=False, activation="relu")
        y = n.classifier(b, b.dropout("dropout", y, self.dropout, maps=True))
        b.resize("logits", y, n.image)
        return n.network()


def transformer(b: Builder, x: Tensor, heads: int, reduction: int, rate: float) -> Tensor:
    """Attention to a coarser map, then a perceptron with a depthwise convolution, each beside its input."""
    c = x.channels
    y = source = b.layer_norm("norm_1", x, BLOCK_EPSILON)
    if reduction > 1:
        source = b.conv("reduce", y, c, kernel=reduction, stride=reduction, padding="VALID", norm=False)
        source = b.layer_norm("reduce_norm", source)
    group = b.group("heads", heads, c // heads)
    query = b.conv("query", y, group, kernel=1, norm=False)
    key, value = (b.conv(name, source, group, kernel=1, norm=False) for name in ("key", "value"))
    y = b.attention("attention", query, key, value)
    x = b.sum("sum_1", x, b.drop_path("drop_1", b.conv("project", y, c, kernel=1, norm=False), rate))
    y = b.layer_norm("norm_2", x, BLOCK_EPSILON)
    y = b.conv("mlp_1", y, c * MLP_RATIO, kernel=1, norm=False)
    y = b.conv("mlp_depthwise", y, norm=False, activation="exact_gelu")
    return b.sum("sum_2", x, b.drop_path("drop_2", b.conv("mlp_2", y, c, kernel=1, norm=False), rate))
