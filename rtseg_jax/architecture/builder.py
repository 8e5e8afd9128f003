"""Writing blocks: a method for every operator, which names tensors and works out their groups and sizes."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from rtseg_jax.architecture import operators
from rtseg_jax.architecture.extents import (
    ONE_PIXEL,
    Bins,
    Extent,
    Padding,
    Scaled,
    Size,
    centred,
    dilated,
    windowed,
)
from rtseg_jax.architecture.graph import Block, Group, Groups, Op, Tensor
from rtseg_jax.architecture.operators import Activation

GroupFactory = Callable[..., Group]
Side = int | Size
"""One number for a square."""

BuilderPadding = Padding | Literal["centred"]
"""`centred` is PyTorch's usual padding of (kernel − 1) / 2 · dilation on every side."""


def fixed(name: str, size: int, unit: int = 1) -> Group:
    """A group that no search cuts."""
    return Group(name, size, unit, searched=False)


class Builder:
    """Collects the operators of one block; its methods mirror `operators`.

    Args:
      name: of the block.
      kind: type of block, see `Block`.
      part: where it belongs, see `Block`.
      group: makes its channel groups, from name, size and unit.
      defaults: settings of convolutions and norms that every one of the block has unless it says otherwise: `bias`,
        `epsilon`, and the `padding` of convolutions and pools.
    """

    def __init__(self, name: str, kind: str, part: str, group: GroupFactory = Group, **defaults: Any):
        self.name, self.kind, self.part = name, kind, part
        self._group = group
        self._defaults = {"bias": False, "epsilon": operators.EPSILON, "padding": "SAME", **defaults}
        self._ops: list[Op] = []

    def group(self, name: str, size: int, unit: int = 1) -> Group:
        """A channel group that belongs to this block alone."""
        return self._group(f"{self.name}.{name}", size, unit)

    def add(
        self, op: type[Op], name: str, inputs: tuple[Tensor, ...], groups: Groups, extent: Extent, /, **settings: Any
    ) -> Tensor:
        """Appends an operator whose output has these groups and this extent."""
        output = Tensor(f"{self.name}.{name}", groups, extent)
        self._ops.append(op(name, inputs, output, **settings))
        return output

    def build(self) -> Block:
        """The finished block."""
        return Block(self.name, self.kind, self.part, tuple(self._ops))

    # --- what has weights ---

    def conv(
        self,
        name: str,
        x: Tensor,
        out: Group | Groups | int | None = None,
        *,
        kernel: Side = 3,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        padding: BuilderPadding | None = None,
        bias: bool | None = None,
        norm: bool = True,
        activation: Activation = None,
        epsilon: float | None = None,
        shared: str | None = None,
    ) -> Tensor:
        """Convolution to the channels of `out`, or to so many; depthwise within the channels of `x` where it is None.

        `groups` are those of a grouped convolution, not channel groups.
        """
        made = x.groups if out is None else self._groups(name, out)
        kernel = pair(kernel)
        padding = self._padding(padding, kernel, dilation)
        fan_in = 1 if out is None else None if groups == 1 else x.channels // groups
        extent = windowed(x.extent, dilated(kernel, dilation), pair(stride), padding)
        return self.add(
            operators.Conv,
            name,
            (x,),
            made,
            extent,
            kernel=kernel,
            stride=stride,
            fan_in=fan_in,
            dilation=dilation,
            padding=padding,
            bias=self._defaults["bias"] if bias is None else bias,
            norm=norm,
            activation=activation,
            epsilon=self._defaults["epsilon"] if epsilon is None else epsilon,
            shared=shared,
        )

    def multiply_channels(self, name: str, x: Tensor, out: Group, stride: int, activation: Activation) -> Tensor:
        """Depthwise 3×3 convolution with several outputs per channel: the grouped expansion of BiSeNetV2."""
        settings: dict[str, Any] = {"kernel": 3, "stride": stride, "groups": x.channels, "activation": activation}
        return self.conv(name, x, out, **settings)

    def transpose(
        self,
        name: str,
        x: Tensor,
        out: Group | int,
        *,
        kernel: Side,
        stride: int,
        like: Tensor | None = None,
        bias: bool | None = None,
        norm: bool = True,
        activation: Activation = None,
    ) -> Tensor:
        """Transposed convolution to `stride` times the size, cropped to that of `like`."""
        extent = Scaled(stride, of=x.extent) if like is None else like.extent
        return self.add(
            operators.ConvTranspose,
            name,
            (x,) if like is None else (x, like),
            self._groups(name, out),
            extent,
            kernel=pair(kernel),
            stride=stride,
            bias=self._defaults["bias"] if bias is None else bias,
            norm=norm,
            activation=activation,
            epsilon=self._defaults["epsilon"],
        )

    def norm(self, name: str, x: Tensor, activation: Activation = None) -> Tensor:
        """Batch norm, then an activation."""
        settings = {"activation": activation, "epsilon": self._defaults["epsilon"]}
        return self.add(operators.BatchNorm, name, (x,), x.groups, x.extent, **settings)

    def layer_norm(self, name: str, x: Tensor, epsilon: float = operators.EPSILON) -> Tensor:
        """Layer norm of each pixel."""
        return self.add(operators.LayerNorm, name, (x,), x.groups, x.extent, epsilon=epsilon)

    # --- attention ---

    def attention(self, name: str, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """Softmax attention; heads are the indicators of the query's group."""
        return self.add(operators.Attention, name, (query, key, value), value.groups, query.extent, scale=scale)

    def position(self, name: str, x: Tensor, axis: Literal["rows", "columns"], length: int) -> Tensor:
        """A line of pixels plus what is learned of each place."""
        return self.add(operators.Position, name, (x,), x.groups, x.extent, axis=axis, length=length)

    def linear_attention(self, name: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention without a softmax."""
        return self.add(operators.LinearAttention, name, (query, key, value), value.groups, query.extent)

    def unit_norm(self, name: str, x: Tensor) -> Tensor:
        """Each pixel at length 1."""
        return self.add(operators.UnitNorm, name, (x,), x.groups, x.extent)

    # --- element by element ---

    def sum(self, name: str, *inputs: Tensor, activation: Activation = None) -> Tensor:
        """Element-wise sum; the first input has its size."""
        return self.add(operators.Add, name, inputs, inputs[0].groups, inputs[0].extent, activation=activation)

    def activate(self, name: str, x: Tensor, activation: Activation) -> Tensor:
        """An activation on its own."""
        return self.add(operators.Activate, name, (x,), x.groups, x.extent, activation=activation)

    def gate(
        self, name: str, x: Tensor, by: Tensor, activation: Activation = "sigmoid", *, complement: bool = False
    ) -> Tensor:
        """`x` times an activation of `by`, or times 1 minus that."""
        settings = {"activation": activation, "complement": complement}
        return self.add(operators.Gate, name, (x, by), x.groups, x.extent, **settings)

    def dropout(self, name: str, x: Tensor, rate: float, *, maps: bool = False) -> Tensor:
        """Dropout, of whole maps where `maps`; nothing at rate 0."""
        if rate == 0:
            return x
        return self.add(operators.Dropout, name, (x,), x.groups, x.extent, rate=rate, of="maps" if maps else "numbers")

    def drop_path(self, name: str, x: Tensor, rate: float) -> Tensor:
        """Stochastic depth (Huang et al. 2016): of some pictures nothing is left of a branch; nothing at rate 0."""
        if rate == 0:
            return x
        return self.add(operators.Dropout, name, (x,), x.groups, x.extent, rate=rate, of="pictures")

    # --- channels ---

    def concat(self, name: str, *inputs: Tensor) -> Tensor:
        """Channels side by side."""
        groups = tuple(group for tensor in inputs for group in tensor.groups)
        return self.add(operators.Concat, name, inputs, groups, inputs[0].extent)

    def split(self, name: str, x: Tensor, start: int, stop: int) -> Tensor:
        """Channels of the groups from number `start` to before `stop`."""
        return self.add(operators.Split, name, (x,), x.groups[start:stop], x.extent)

    def shuffle(self, name: str, x: Tensor, parts: int) -> Tensor:
        """Channel shuffle; the output has as many groups as `parts`."""
        groups = tuple(fixed(f"{self.name}.{name}_{i}", x.channels // parts) for i in range(parts))
        return self.add(operators.Shuffle, name, (x,), groups, x.extent, parts=parts)

    def pad_channels(self, name: str, x: Tensor, channels: int) -> Tensor:
        """Zeros behind the channels of `x`, to so many in all."""
        zeros = fixed(f"{self.name}.{name}", channels - x.channels)
        return self.add(operators.PadChannels, name, (x,), (*x.groups, zeros), x.extent)

    def reduce_channels(self, name: str, x: Tensor, kind: Literal["sum", "mean", "max"]) -> Tensor:
        """One channel: sum, mean or maximum of all."""
        return self.add(operators.ChannelReduce, name, (x,), (fixed(f"{self.name}.{name}", 1),), x.extent, kind=kind)

    # --- pixels ---

    def pool(
        self,
        name: str,
        x: Tensor,
        kind: Literal["max", "average"],
        *,
        window: Side = 3,
        stride: Side = 2,
        padding: BuilderPadding | None = None,
        count_padding: bool = True,
        cut: bool = False,
    ) -> Tensor:
        """Maximum or mean of windows."""
        window, stride = pair(window), pair(stride)
        padding = self._padding(padding, window, 1)
        extent = windowed(x.extent, window, stride, padding, cut=cut)
        settings = {"kind": kind, "window": window, "stride": stride, "padding": padding}
        return self.add(operators.Pool, name, (x,), x.groups, extent, **settings, count_padding=count_padding, cut=cut)

    def unpool(self, name: str, x: Tensor, before: Tensor, pooled: Tensor) -> Tensor:
        """Max-unpooling of `x` to where `pooled` was taken out of `before`."""
        return self.add(operators.Unpool, name, (x, before, pooled), x.groups, before.extent)

    def coordinates(self, name: str, like: Tensor) -> Tensor:
        """x and y of every pixel of a map."""
        return self.add(operators.Coordinates, name, (like,), (fixed(f"{self.name}.{name}", 2),), like.extent)

    def patches(self, name: str, x: Tensor, cells: Tensor, extent: Extent) -> Tensor:
        """The cells of `x`, each with a frame of one pixel; `extent` is the size of all side by side."""
        return self.add(operators.Patches, name, (x, cells), x.groups, extent)

    def cell_conv(self, name: str, x: Tensor, kernels: Tensor, out: Group | int) -> Tensor:
        """1×1 convolution with computed kernels."""
        return self.add(operators.CellConv, name, (x, kernels), self._groups(name, out), x.extent)

    def cell_depthwise(self, name: str, x: Tensor, kernels: Tensor, extent: Extent) -> Tensor:
        """Depthwise 3×3 convolution of patches with computed kernels; `extent` is the size without their frames."""
        return self.add(operators.CellDepthwise, name, (x, kernels), x.groups, extent)

    def warp(self, name: str, x: Tensor, flow: Tensor) -> Tensor:
        """`x` at the size of a flow, sampled where that says."""
        return self.add(operators.Warp, name, (x, flow), x.groups, flow.extent)

    def bins(self, name: str, x: Tensor, to: Tensor | Extent | int) -> Tensor:
        """Means over bins: so many each way, as many as a tensor has pixels, or as a rule gives for the size of `x`."""
        if isinstance(to, Tensor):
            return self.add(operators.AdaptivePool, name, (x, to), x.groups, to.extent)
        rule = Bins(to, to) if isinstance(to, int) else to
        return self.add(operators.AdaptivePool, name, (x,), x.groups, _after(x.extent, rule))

    def mean(self, name: str, x: Tensor) -> Tensor:
        """Mean over all pixels."""
        return self.add(operators.GlobalMean, name, (x,), x.groups, ONE_PIXEL)

    def resize(
        self,
        name: str,
        x: Tensor,
        to: Tensor | Extent,
        method: Literal["bilinear", "nearest"] = "bilinear",
        *,
        align_corners: bool = False,
    ) -> Tensor:
        """Resized to the size of a tensor, or by a rule for the size of `x`, such as `Scaled(2)`."""
        settings = {"method": method, "align_corners": align_corners}
        if isinstance(to, Tensor):
            return self.add(operators.Resize, name, (x, to), x.groups, to.extent, **settings)
        return self.add(operators.Resize, name, (x,), x.groups, _after(x.extent, to), **settings)

    def _groups(self, name: str, out: Group | Groups | int) -> Groups:
        if isinstance(out, int):
            return (self.group(name, out),)
        return (out,) if isinstance(out, Group) else out

    def _padding(self, padding: BuilderPadding | None, window: Size, dilation: int) -> Padding:
        chosen = self._defaults["padding"] if padding is None else padding
        return centred(window, dilation) if chosen == "centred" else chosen


def pair(side: Side) -> Size:
    """Height and width."""
    return (side, side) if isinstance(side, int) else side


def _after(extent: Extent, rule: Extent) -> Extent:
    return rule if isinstance(rule, Bins) else dataclasses.replace(rule, of=extent)
