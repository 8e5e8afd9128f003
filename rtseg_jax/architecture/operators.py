"""The operators. Each says what it reads, its weights, and its multiply-accumulates; everything else is derived.

To add one: a class here, and what it computes in `models/operators.py`. Where its time depends on something that its
multiply-accumulates and the elements that it reads do not tell, a rule in `latency/features.py`.
"""

import dataclasses
import math
from typing import Literal, get_args

from rtseg_jax.architecture.extents import Padding, Size
from rtseg_jax.architecture.graph import Group, Groups, Op, Product, Role, Tensor, Weight

ActivationName = Literal[
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "prelu",
    "gelu",
    "exact_gelu",
    "sigmoid",
    "hard_sigmoid",
    "hard_sigmoid_5",
    "silu",
    "hard_swish",
]
"""gelu is its tanh form; leaky_relu has the slope 0.01, prelu one slope per channel, which is trained; hard_sigmoid
rises by 1/6, hard_sigmoid_5 by 1/5."""

Activation = ActivationName | None
ACTIVATIONS = get_args(ActivationName)

EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Plain(Op):
    """An operator that has neither weights nor multiply-accumulates."""

    @property
    def weights(self) -> tuple[Weight, ...]:
        """None."""
        return ()

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """None."""
        return ()


@dataclasses.dataclass(frozen=True)
class Conv(Op):
    """Convolution, then bias, batch norm and activation where asked for.

    Attributes:
      kernel: height and width.
      stride: of both axes.
      fan_in: input channels that each output reads: None for all of them, 1 for a depthwise convolution. Output
        channels belong to the groups in order, as many to each.
      dilation: distance of the kernel's taps.
      padding: see `extents.Padding`.
      bias: whether a number is added to each channel.
      norm: whether batch norm follows.
      activation: what comes last.
      epsilon: of batch norm.
      shared: name of an operator of the same block whose kernel and bias are used.
    """

    kernel: Size
    stride: int = 1
    fan_in: int | None = None
    dilation: int = 1
    padding: Padding = "SAME"
    bias: bool = False
    norm: bool = True
    activation: Activation = None
    epsilon: float = EPSILON
    shared: str | None = None

    def __post_init__(self) -> None:
        if self.fan_in is not None:
            _check_grouped(self, self.fan_in)

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads one input channel."""
        return self.fan_in == 1

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Kernel [height, width, inputs, outputs], and what follows it."""
        mixed = self.fan_in is None
        inputs: int | Groups = self.inputs[0].groups if self.fan_in is None else self.fan_in
        owner = self.shared or self.name
        kernel = Weight((owner, "kernel"), (*self.kernel, inputs, self.output.groups), "kernel", 2 if mixed else None)
        bias = (Weight((owner, "bias"), (self.output.groups,), "bias"),) if self.bias else ()
        return (kernel, *bias, *_norm_weights(self), *_slope(self, self.activation))

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """Taps beyond the border included."""
        work = math.prod((*self.kernel, *self.output.size(image_size)))
        if self.fan_in is None:
            return (Product(work, (self.inputs[0].groups, self.output.groups)),)
        return (Product(work * self.fan_in, (self.output.groups,)),)


@dataclasses.dataclass(frozen=True)
class ConvTranspose(Op):
    """Transposed convolution to `stride` times the size, cropped to a second input where there is one.

    Padding is the usual one: with kernel = stride patches that do not overlap, with 3×3 at stride 2 what PyTorch calls
    padding 1, output padding 1. Bias, batch norm and activation as in `Conv`.
    """

    kernel: Size
    stride: int
    bias: bool = False
    norm: bool = True
    activation: Activation = None
    epsilon: float = EPSILON

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The first input."""
        return self.inputs[:1]

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Kernel [height, width, inputs, outputs], placed turned round as in `lax`, and what follows it."""
        axes = (*self.kernel, self.inputs[0].groups, self.output.groups)
        kernel = Weight((self.name, "kernel"), axes, "kernel", 2)
        bias = (Weight((self.name, "bias"), (self.output.groups,), "bias"),) if self.bias else ()
        return (kernel, *bias, *_norm_weights(self), *_slope(self, self.activation))

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """Every pixel of the input meets every tap."""
        work = math.prod((*self.kernel, *self.inputs[0].size(image_size)))
        return (Product(work, (self.inputs[0].groups, self.output.groups)),)


@dataclasses.dataclass(frozen=True)
class BatchNorm(Plain):
    """Batch norm on its own, then an activation."""

    activation: Activation = None
    epsilon: float = EPSILON

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Scale, shift and running statistics."""
        return (*_norm(self, ()), *_slope(self, self.activation))


@dataclasses.dataclass(frozen=True)
class LayerNorm(Plain):
    """Layer norm over the channels of each pixel."""

    epsilon: float = EPSILON

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Scale and shift."""
        return _norm(self, (), roles=("scale", "shift"))


@dataclasses.dataclass(frozen=True)
class UnitNorm(Plain):
    """Each pixel's channels divided by their Euclidean norm."""

    epsilon: float = 1e-12


@dataclasses.dataclass(frozen=True)
class Attention(Op):
    """Multi-head attention: softmax(scale · Q·Kᵀ)·V; queries are the pixels of the first input, keys of the others.

    Keys and values may have fewer pixels than queries, and values another width per head; all three have the same
    heads, which are the indicators of their one group.

    Attributes:
      scale: of the scores; 1/√(width of a head) where None.
    """

    scale: float | None = None

    @property
    def weights(self) -> tuple[Weight, ...]:
        """None: projections are operators of their own."""
        return ()

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """Q·Kᵀ, and the weights times V."""
        pairs = self.scores(image_size)
        return (Product(pairs, (self.inputs[0].groups,)), Product(pairs, (self.output.groups,)))

    @property
    def heads(self) -> Group:
        """Whose indicators are the heads."""
        (group,) = self.inputs[0].groups
        return group

    def scores(self, image_size: Size) -> int:
        """Entries of each head's softmax."""
        query, key, _ = self.inputs
        return math.prod(query.size(image_size)) * math.prod(key.size(image_size))


@dataclasses.dataclass(frozen=True)
class Position(Plain):
    """A line of pixels plus a trained vector for each place on it: so many vectors, resized to the line's length.

    Attributes:
      axis: along which the line goes.
      length: number of vectors.
    """

    axis: Literal["rows", "columns"]
    length: int

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The vectors; at first zero."""
        return (Weight((self.name, "position"), (self.length, self.output.groups), "bias"),)


@dataclasses.dataclass(frozen=True)
class LinearAttention(Op):
    """Q·(Kᵀ·V) over pixels, without a softmax and not divided by their number."""

    @property
    def weights(self) -> tuple[Weight, ...]:
        """None."""
        return ()

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """Both products."""
        query, key, value = self.inputs
        tokens = math.prod(query.size(image_size)) + math.prod(key.size(image_size))
        return (Product(tokens, (key.groups, value.groups)),)


@dataclasses.dataclass(frozen=True)
class Add(Plain):
    """Sum of feature maps of the same channels (some may be a line or a single pixel), then an activation."""

    activation: Activation = None

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Of the activation."""
        return _slope(self, self.activation)


@dataclasses.dataclass(frozen=True)
class Activate(Plain):
    """An activation on its own."""

    activation: Activation

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Of the activation."""
        return _slope(self, self.activation)


@dataclasses.dataclass(frozen=True)
class Gate(Plain):
    """First input times an activation of the second, or times 1 minus that; one of them may have a single channel.

    Attributes:
      activation: of the gate; None multiplies by the second input as it is.
      complement: whether it is 1 minus the gate that counts.
    """

    activation: Activation = "sigmoid"
    complement: bool = False

    @property
    def weights(self) -> tuple[Weight, ...]:
        """None; a trained slope on a gate is refused."""
        if self.activation == "prelu":
            raise ValueError(f"{self.output.name}: a gate has no slope to train")
        return ()


@dataclasses.dataclass(frozen=True)
class Concat(Plain):
    """Channels side by side; the groups keep apart."""


@dataclasses.dataclass(frozen=True)
class Split(Plain):
    """The channels of some neighbouring groups of the input."""

    def __post_init__(self) -> None:
        if self.first is None:
            raise ValueError(f"{self.output.name}: its groups do not stand side by side in {self.inputs[0].name}")

    @property
    def first(self) -> int | None:
        """Number of the first group that is taken."""
        whole, part = self.inputs[0].groups, self.output.groups
        starts = range(len(whole) - len(part) + 1)
        return next((start for start in starts if whole[start : start + len(part)] == part), None)


@dataclasses.dataclass(frozen=True)
class Shuffle(Plain):
    """Channel shuffle: of `parts` equal parts the first channels, then the second ones, and so on."""

    parts: int

    def __post_init__(self) -> None:
        if self.inputs[0].channels % self.parts or self.inputs[0].channels != self.output.channels:
            raise ValueError(
                f"{self.output.name}: {self.inputs[0].channels} channels cannot be shuffled in {self.parts}"
            )
        if any(group.searched for tensor in (*self.inputs, self.output) for group in tensor.groups):
            raise ValueError(f"{self.output.name}: channels that are shuffled cannot be searched")


@dataclasses.dataclass(frozen=True)
class PadChannels(Plain):
    """Channels of zeros behind the input's: the groups that the output has besides."""


@dataclasses.dataclass(frozen=True)
class Resize(Plain):
    """Resized to the size of the second input, or by its output's rule where there is none.

    Attributes:
      method: bilinear, or nearest, which repeats the pixel ⌊position · old / new⌋.
      align_corners: whether corner pixels meet (bilinear only); otherwise pixels are areas.
    """

    method: Literal["bilinear", "nearest"] = "bilinear"
    align_corners: bool = False

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The first input."""
        return self.inputs[:1]


@dataclasses.dataclass(frozen=True)
class Pool(Plain):
    """Maximum or mean of windows; beyond the border there is nothing to a maximum and zero to a mean.

    Attributes:
      kind: max or average.
      window: height and width.
      stride: of height and width.
      padding: see `extents.Padding`.
      count_padding: whether a mean divides by the pixels beyond the border too.
      cut: whether a window that is larger than the map is cut to it; only where there is no padding.
    """

    kind: Literal["max", "average"]
    window: Size = (3, 3)
    stride: Size = (2, 2)
    padding: Padding = "SAME"
    count_padding: bool = True
    cut: bool = False

    def __post_init__(self) -> None:
        if self.cut and self.padding != "VALID":
            raise ValueError(f"{self.output.name}: windows are cut to the map only where there is no padding")


@dataclasses.dataclass(frozen=True)
class AdaptivePool(Plain):
    """Means over bins, as PyTorch cuts them: from ⌊i·n/b⌋ to ⌈(i+1)·n/b⌉.

    There are as many as the second input has pixels, or as the output's rule gives where there is none.
    """

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The first input."""
        return self.inputs[:1]


@dataclasses.dataclass(frozen=True)
class GlobalMean(Plain):
    """Mean over all pixels."""


@dataclasses.dataclass(frozen=True)
class Unpool(Plain):
    """Max-unpooling of the first input: to the places where the second had its maxima, which are the third; zeros else.

    Equal to unpooling by indices but where a window has several maxima: all of them get the value. That needs no
    operator that phones refuse.
    """

    def __post_init__(self) -> None:
        x, before, _ = self.inputs
        if x.groups != before.groups and any(group.searched for group in (*x.groups, *before.groups)):
            raise ValueError(f"{self.output.name}: searched channels must be those of the pooling that it undoes")


@dataclasses.dataclass(frozen=True)
class Warp(Plain):
    """First input sampled bilinearly at a regular grid that the second moves; zeros beyond the border.

    The second has two channels, x and y, see `models.sampling`.
    """

    def __post_init__(self) -> None:
        if self.inputs[1].channels != 2:
            raise ValueError(f"{self.output.name}: a flow has two channels, {self.inputs[1].name} has others")


@dataclasses.dataclass(frozen=True)
class Coordinates(Plain):
    """x and y of every pixel of the input, from −1 at one border to 1 at the other."""

    @property
    def values(self) -> tuple[Tensor, ...]:
        """None: of the input only the size matters."""
        return ()


@dataclasses.dataclass(frozen=True)
class Patches(Plain):
    """Every cell of the first input with one pixel around it; there are as many as the second has pixels."""

    @property
    def values(self) -> tuple[Tensor, ...]:
        """The first input."""
        return self.inputs[:1]


@dataclasses.dataclass(frozen=True)
class CellConv(Op):
    """1×1 convolution whose kernels are the second input: one for each cell of the first, see `models.cells`."""

    def __post_init__(self) -> None:
        _check_computed(self, self.inputs[0].channels * self.output.channels)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """None: kernels are computed."""
        return ()

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """As many as of an ordinary convolution."""
        return (Product(math.prod(self.output.size(image_size)), (self.inputs[0].groups, self.output.groups)),)


@dataclasses.dataclass(frozen=True)
class CellDepthwise(Op):
    """Depthwise 3×3 convolution within each of `Patches`, whose kernels are the second input; the frame is used up."""

    def __post_init__(self) -> None:
        _check_computed(self, 9 * self.output.channels)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """None: kernels are computed."""
        return ()

    def products(self, image_size: Size) -> tuple[Product, ...]:
        """As many as of an ordinary convolution."""
        return (Product(9 * math.prod(self.output.size(image_size)), (self.output.groups,)),)


@dataclasses.dataclass(frozen=True)
class ChannelReduce(Plain):
    """Sum, mean or maximum over the channels of each pixel; the output has one."""

    kind: Literal["sum", "mean", "max"]


@dataclasses.dataclass(frozen=True)
class Dropout(Plain):
    """Dropout, in training only: of single numbers, of whole maps, or of all that a picture has here."""

    rate: float
    of: Literal["numbers", "maps", "pictures"] = "numbers"


_NORM: tuple[Role, ...] = ("scale", "shift", "mean", "variance")


def _norm(op: Op, path: tuple[str, ...], roles: tuple[Role, ...] = _NORM) -> tuple[Weight, ...]:
    leaves = {"scale": "scale", "shift": "bias", "mean": "mean", "variance": "var"}
    return tuple(Weight((op.name, *path, leaves[role]), (op.output.groups,), role) for role in roles)


def _norm_weights(op: "Conv | ConvTranspose") -> tuple[Weight, ...]:
    return _norm(op, ("norm",)) if op.norm else ()


def _slope(op: Op, activation: Activation) -> tuple[Weight, ...]:
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"{op.output.name}: there is no activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    return (Weight((op.name, "slope"), (op.output.groups,), "slope"),) if activation == "prelu" else ()


def _check_computed(op: Op, numbers: int) -> None:
    """Kernels that a map holds must have their numbers, and no search can cut them."""
    if op.inputs[1].channels != numbers:
        raise ValueError(f"{op.output.name}: its kernels are {numbers} numbers, {op.inputs[1].name} has others")
    if any(group.searched for tensor in (*op.inputs, op.output) for group in tensor.groups):
        raise ValueError(f"{op.output.name}: channels of computed kernels cannot be searched")


def _check_grouped(op: Conv, fan_in: int) -> None:
    """A search may cut a grouped convolution only where it takes whole groups of it, from both ends."""
    given, made = op.inputs[0], op.output
    if given.channels % fan_in or made.channels % (given.channels // fan_in):
        raise ValueError(f"{made.name}: {given.channels} to {made.channels} channels are no groups of {fan_in}")
    if not any(group.searched for group in (*given.groups, *made.groups)):
        return
    whole = all(group.unit % fan_in == 0 for group in given.groups)
    tied = [group.name for group in given.groups] == [group.name for group in made.groups]
    factors = {made.unit / given.unit for given, made in zip(given.groups, made.groups, strict=False)}
    if not (whole and tied and len(factors) == 1):
        raise ValueError(
            f"{made.name}: searched channels must be whole groups of a grouped convolution, see Group.widened"
        )
