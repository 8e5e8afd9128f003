"""TopFormer-B (Zhang et al. 2022), after the authors' PyTorch code; a token is a pixel.

Training there drops whole residual branches at random (up to a tenth of them); here they stay.
"""

import dataclasses

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import Strided
from rtseg_jax.architecture.graph import Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, Published, Score
from rtseg_jax.architecture.sketch import Sketch
from rtseg_jax.zoo.mobilenetv2 import inverted_residual

STEM = 16
ROWS = (
    ((3, 1, 16, 1),),
    ((3, 4, 32, 2), (3, 3, 32, 1)),
    ((5, 3, 64, 2), (5, 3, 64, 1)),
    ((3, 3, 128, 2), (3, 3, 128, 1)),
    ((5, 6, 160, 2), (5, 6, 160, 1), (3, 6, 160, 1)),
)
"""Kernel, expansion, channels, stride; the last of every row but the first is tokenised."""

TOKEN_STRIDES = (16, 8, 4, 2)
"""From the maps at 1/4, 1/8, 1/16, 1/32 to the tokens at 1/64."""

LAYERS = 4
HEADS = 8
KEY_WIDTH = 16
VALUE_WIDTH = 32
MLP_RATIO = 2

PUBLISHED = Published(
    "TopFormer-B",
    "Zhang et al. 2022",
    "",
    "the Cityscapes configuration with a head of 128 channels; the 5.1 million parameters of tables are ADE20K's",
    (Score("Cityscapes", "val", 70.7, "RTSeg", pretrained=True),),
)


@dataclasses.dataclass(frozen=True)
class TopFormerB(NetworkSpec, name="topformer_b", published=PUBLISHED):
    """TopFormer-B.

    Attributes:
      head: channels of the fused maps; 256 in the configuration for ADE20K.
      dropout: rate of whole maps before the classifier.
      drop_path: rate at which the last layer's branches are left out in training; it rises evenly from 0.
    """

    head: int = 128
    dropout: float = 0.1
    drop_path: float = 0.1

    def declare(self) -> Network:
        """Token pyramid, transformer at 1/64, semantics injected into three maps, which are summed at 1/8."""
        n = Sketch(self.num_classes)
        x = n.block("stem", "stem", "pyramid").conv("conv", n.image, STEM, stride=2, activation="relu")
        maps = []
        for row, blocks in enumerate(ROWS, start=1):
            for i, (kernel, expansion, channels, stride) in enumerate(blocks, start=1):
                b = n.block(f"pyramid_{row}_{i}", "inverted_residual", "pyramid")
                x = inverted_residual(b, x, channels, expansion, stride, kernel=kernel, activation="relu")
            maps.append(x)
        maps = maps[1:]
        b = n.block("tokens", "tokens", "transformer")
        x = b.concat(
            "concat",
            *(
                b.bins(f"pool_{i}", tensor, Strided(stride))
                for i, (tensor, stride) in enumerate(zip(maps, TOKEN_STRIDES, strict=True), start=1)
            ),
        )
        for layer in range(1, LAYERS + 1):
            rate = self.drop_path * (layer - 1) / (LAYERS - 1)
            x = transformer(n.block(f"layer_{layer}", "token_attention", "transformer"), x, rate)
        injected = [
            injection(n.block(f"inject_{i}", "injection", "head"), maps[i], x, i, self.head)
            for i in range(1, len(maps))
        ]
        b = n.block("head", "head", "head")
        fine, *coarse = injected
        ups = [b.resize(f"up_{i}", tensor, fine) for i, tensor in enumerate(coarse, start=1)]
        x = b.conv("mix", b.sum("sum", fine, *ups), self.head, kernel=1, activation="relu")
        x = n.classifier(b, b.dropout("dropout", x, self.dropout, maps=True))
        b.resize("logits", x, n.image)
        return n.network()


def transformer(b: Builder, x: Tensor, rate: float) -> Tensor:
    """Attention with unscaled scores, then a perceptron with a depthwise convolution, each beside its input."""
    keys, values = b.group("keys", HEADS, KEY_WIDTH), b.group("values", HEADS, VALUE_WIDTH)
    query, key = (b.conv(name, x, keys, kernel=1) for name in ("query", "key"))
    y = b.attention("attention", query, key, b.conv("value", x, values, kernel=1), scale=1.0)
    y = b.conv("project", b.activate("relu6", y, "relu6"), x.groups, kernel=1)
    x = b.sum("sum_1", x, b.drop_path("drop_1", y, rate))
    y = b.conv("mlp_1", x, x.channels * MLP_RATIO, kernel=1)
    y = b.conv("mlp_depthwise", y, bias=True, norm=False, activation="relu6")
    return b.sum("sum_2", x, b.drop_path("drop_2", b.conv("mlp_2", y, x.groups, kernel=1), rate))


def injection(b: Builder, local: Tensor, tokens: Tensor, number: int, channels: int) -> Tensor:
    """A map gated by its share of the tokens, plus that share."""
    share = b.split("split", tokens, number, number + 1)
    fine = b.conv("local", local, channels, kernel=1)
    gate = b.resize("gate_up", b.conv("gate", share, channels, kernel=1, activation="hard_sigmoid"), fine)
    added = b.resize("added_up", b.conv("added", share, channels, kernel=1), fine)
    return b.sum("sum", b.gate("gated", fine, gate, None), added)
