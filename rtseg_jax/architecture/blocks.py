"""The building blocks, declared operator by operator."""

from typing import Any

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Block, Group, Tensor


def conv_block(b: Builder, x: Tensor, out: Group, stride: int) -> Block:
    """One 3×3 convolution: a layer of the detail branch."""
    b.conv("conv", x, out, stride=stride, activation="relu")
    return b.build()


def stem_block(b: Builder, image: Tensor, channels: int, left: int) -> Block:
    """To 1/4: a convolution, then convolutions beside a max-pool, concatenated and joined."""
    x = b.conv("conv", image, b.group("conv", channels), stride=2, activation="relu")
    y = b.conv("left_1", x, b.group("left_1", left), kernel=1, activation="relu")
    y = b.conv("left_2", y, b.group("left_2", channels), stride=2, activation="relu")
    z = b.pool("right", x, "max")
    both = b.concat("concat", y, z)
    b.conv("fuse", both, b.group("fuse", channels), activation="relu")
    return b.build()


def lir_block(b: Builder, x: Tensor, expansion: int) -> Block:
    """Lightweight inverted residual: conv 3×3, expansion 1×1, depthwise 3×3, projection 1×1, plus the input."""
    (stage,) = x.groups
    channels = b.group("conv", x.channels)
    y = b.conv("conv", x, channels, activation="relu")
    y = b.conv("expand", y, b.group("expand", x.channels * expansion), kernel=1, activation="relu")
    y = b.conv("depthwise", y)
    y = b.conv("project", y, stage, kernel=1)
    b.sum("sum", x, y, activation="relu")
    return b.build()


def downsample_block(b: Builder, x: Tensor, out: Group, expansion: int) -> Block:
    """Stride-2 counterpart of the LIR block, with a depthwise shortcut."""
    y = b.conv("conv", x, b.group("conv", x.channels), activation="relu")
    y = b.conv("expand", y, b.group("expand", x.channels * expansion), kernel=1, activation="relu")
    y = b.conv("depthwise_1", y, stride=2)
    y = b.conv("depthwise_2", y)
    y = b.conv("project", y, out, kernel=1)
    z = b.conv("shortcut_depthwise", x, stride=2)
    z = b.conv("shortcut_project", z, out, kernel=1)
    b.sum("sum", y, z, activation="relu")
    return b.build()


def gather_expansion_block(b: Builder, x: Tensor, expansion: int) -> Block:
    """Stride-1 gather-and-expansion layer of BiSeNetV2, with its grouped expansion."""
    (stage,) = x.groups
    y = b.conv("conv", x, b.group("conv", x.channels), activation="relu")
    y = b.multiply_channels("expand", y, b.group("expand", x.channels * expansion), 1, "relu")
    y = b.conv("project", y, stage, kernel=1)
    b.sum("sum", x, y, activation="relu")
    return b.build()


def gather_expansion_down_block(b: Builder, x: Tensor, out: Group, expansion: int) -> Block:
    """Stride-2 gather-and-expansion layer of BiSeNetV2."""
    y = b.conv("conv", x, b.group("conv", x.channels), activation="relu")
    y = b.multiply_channels("expand", y, b.group("expand", x.channels * expansion), 2, None)
    y = b.conv("depthwise", y, activation="relu")
    y = b.conv("project", y, out, kernel=1)
    z = b.conv("shortcut_depthwise", x, stride=2)
    z = b.conv("shortcut_project", z, out, kernel=1)
    b.sum("sum", y, z, activation="relu")
    return b.build()


def mhsa_block(b: Builder, x: Tensor, *, patch: int, tokens: int, heads: int, head_width: int, hidden: int) -> Block:
    """Pre-norm transformer layer on P×P patches (figure 2b), with standard residuals around attention and MLP.

    Tokens stay a feature map, one pixel each, so that every linear layer is a 1×1 convolution.
    """
    (stage,) = x.groups
    stream = b.group("tokens", tokens)
    head_group = b.group("heads", heads, head_width)
    token: dict[str, Any] = {"kernel": 1, "bias": True, "norm": False}
    t = b.conv("embed", x, stream, kernel=patch, stride=patch, bias=True, norm=False)
    y = b.layer_norm("norm_1", t)
    query, key, value = (b.conv(name, y, head_group, **token) for name in ("query", "key", "value"))
    y = b.attention("attention", query, key, value)
    t = b.sum("sum_1", t, b.conv("project", y, stream, **token))
    y = b.layer_norm("norm_2", t)
    y = b.conv("mlp_1", y, b.group("hidden", hidden), activation="gelu", **token)
    t = b.sum("sum_2", t, b.conv("mlp_2", y, stream, **token))
    y = b.transpose("depatch", t, stage, kernel=patch, stride=patch, like=x)
    b.sum("sum", x, y)
    return b.build()


def context_block(b: Builder, x: Tensor, out: Group) -> Block:
    """Context embedding: the normalized global mean, mixed and added to every pixel, then a convolution."""
    y = b.mean("mean", x)
    y = b.norm("mean_norm", y)
    y = b.conv("mix", y, x.groups[0], kernel=1, activation="relu")
    y = b.sum("sum", x, y)
    b.conv("conv", y, out, activation="relu")
    return b.build()


def aggregation_block(b: Builder, detail: Tensor, segment: Tensor, joint: Group, out: Group) -> Block:
    """Bilateral guided aggregation: each branch gates the other, at both resolutions."""
    left = b.conv("detail_depthwise", detail)
    left = b.conv("detail_project", left, joint, kernel=1, norm=False)
    coarse = b.conv("detail_down", detail, joint, stride=2)
    coarse = b.pool("detail_pool", coarse, "average")
    fine_gate = b.conv("segment_conv", segment, joint)
    fine_gate = b.resize("segment_up", fine_gate, left)
    gate = b.conv("segment_depthwise", segment)
    gate = b.conv("segment_project", gate, joint, kernel=1, norm=False)
    left = b.gate("detail_gated", left, fine_gate)
    right = b.gate("segment_gated", coarse, gate)
    right = b.resize("gated_up", right, left)
    both = b.sum("sum", left, right)
    b.conv("conv", both, out, activation="relu")
    return b.build()


def head_block(b: Builder, x: Tensor, image: Tensor, hidden: Group, classes: Group, dropout: float) -> Block:
    """Convolution, classifier, and upsampling of the logits to the size of the image."""
    y = b.conv("conv", x, hidden, activation="relu")
    y = b.dropout("dropout", y, dropout)
    y = b.conv("classifier", y, classes, kernel=1, bias=True, norm=False)
    b.resize("logits", y, image)
    return b.build()
