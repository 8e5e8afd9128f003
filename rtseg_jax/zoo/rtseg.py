"""RTSeg's supernet: the dual-branch network with a choice of operators in every stride-1 block.

A candidate operator is one function here and one row of `CANDIDATES`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.graph import Block, Group, Mixed, Tensor
from rtseg_jax.architecture.network_spec import Published
from rtseg_jax.architecture.operators import ActivationName
from rtseg_jax.errors import UserError
from rtseg_jax.zoo.bisenetv2 import STAGE_STRIDES, DualBranch

MLP_ACTIVATIONS: tuple[ActivationName, ...] = ("gelu", "hard_swish", "relu")
"""ViT's, and others that some runtimes compute faster; docs/latency.md has what they cost on a CPU."""


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


def mhsa_block(
    b: Builder,
    x: Tensor,
    *,
    patch: int,
    tokens: int,
    heads: int,
    head_width: int,
    hidden: int,
    activation: ActivationName = "gelu",
) -> Block:
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
    y = b.conv("mlp_1", y, b.group("hidden", hidden), activation=activation, **token)
    t = b.sum("sum_2", t, b.conv("mlp_2", y, stream, **token))
    y = b.transpose("depatch", t, stage, kernel=patch, stride=patch, like=x)
    b.sum("sum", x, y)
    return b.build()


PUBLISHED = Published(
    "RTSeg supernet",
    "RTSeg",
    "",
    "width fitted to the published 24.43 M parameters and 136.0 GMACs; searched networks are cut out of it",
)


@dataclasses.dataclass(frozen=True)
class RTSeg(DualBranch, name="rtseg", published=PUBLISHED):
    """Shape of RTSeg's supernet.

    Attributes:
      block: what follows a downsampling layer: `mixed` (the supernet), or one of the candidates everywhere.
      candidates: operators that a mixed block chooses from, besides none at all; rows of `CANDIDATES`.
      patch_sizes: P of the attention paths at 1/8, 1/16, 1/32; a token is as wide as P²·C.
      mlp_ratio: width of a token's MLP over the token's.
      mlp_activation: inside of that MLP, one of `MLP_ACTIVATIONS`.
      head_width: channels of one attention head; constant, so that 1/√d stays fixed when heads are removed.
    """

    later = ("mlp_activation",)

    block: str = "mixed"
    width: float = 2.19
    segment_blocks: tuple[int, int, int] = (2, 2, 3)
    candidates: tuple[str, ...] = ("lir", "mhsa")
    patch_sizes: tuple[int, int, int] = (2, 1, 1)
    mlp_ratio: int = 4
    mlp_activation: ActivationName = "gelu"
    head_width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (*self.candidates, *(() if self.block == "mixed" else (self.block,))):
            if name not in CANDIDATES:
                known = ", ".join(CANDIDATES)
                raise UserError(f"network.block, network.candidates: there is no {name!r}; there are mixed, {known}")
        if not self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise UserError(f"network.candidates is {self.candidates}: name each operator once, and one at least")
        if self.mlp_activation not in MLP_ACTIVATIONS:
            raise UserError(
                f"network.mlp_activation is {self.mlp_activation!r}: it must be one of {', '.join(MLP_ACTIVATIONS)}"
            )
        if len(self.patch_sizes) != len(STAGE_STRIDES):
            raise UserError("network.patch_sizes needs three numbers: for 1/8, 1/16 and 1/32")

    def downsample(self, name: str, x: Tensor, out: Group) -> Block:
        """The stride-2 LIR block."""
        return downsample_block(self.builder(name, "downsample", "segment"), x, out, self.expansion)

    def stride_1_block(self, name: str, x: Tensor, stage: int) -> Block | Mixed:
        """A choice, or the one operator that was asked for."""
        if self.block != "mixed":
            return CANDIDATES[self.block](self, name, x, stage)
        paths = tuple((path, CANDIDATES[path](self, f"{name}_{path}", x, stage)) for path in self.candidates)
        return Mixed(name, "segment", x, Tensor(name, x.groups, x.extent), paths)


def _lir(spec: RTSeg, name: str, x: Tensor, stage: int) -> Block:
    return lir_block(spec.builder(name, "lir", "segment"), x, spec.expansion)


def _mhsa(spec: RTSeg, name: str, x: Tensor, stage: int) -> Block:
    patch = spec.patch_sizes[stage]
    tokens = x.channels * patch**2
    return mhsa_block(
        spec.builder(name, "mhsa", "attention"),
        x,
        patch=patch,
        tokens=tokens,
        heads=max(1, round(tokens / spec.head_width)),
        head_width=spec.head_width,
        hidden=tokens * spec.mlp_ratio,
        activation=spec.mlp_activation,
    )


CANDIDATES: dict[str, Callable[[RTSeg, str, Tensor, int], Block]] = {"lir": _lir, "mhsa": _mhsa}
"""Operators of mixed blocks: (spec, name, input, number of the stage) → block whose output has the input's channels."""
