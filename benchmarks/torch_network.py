"""A declared network as a PyTorch module, with the weights of the Flax network.

Its layers pad as PyTorch's do, by a pixel on every side. At stride 2 and even sizes only the pixel before the picture
is read, while `SAME` reads the one behind it. The module is therefore the mirror image of the Flax network: its kernels
are mirrored, and on a mirrored picture it computes the mirrored logits. So it needs no layers that do nothing but pad,
which would cost PyTorch time that its users do not spend.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rtseg_jax.architecture import Network, operators
from rtseg_jax.architecture.graph import Op

Path = tuple[str, ...]
Leaves = dict[Path, np.ndarray]
Normalization = tuple[Sequence[float], Sequence[float]]


class TorchNetwork(nn.Module):
    """The operators of a declaration in order; a feature map is dropped after its last use.

    Attributes:
      wiring: for each layer the numbers of its inputs, of its output, and of what nobody reads after it.
      outputs: numbers of the logits, of the network and of its auxiliary heads where it has them.
    """

    def __init__(
        self, network: Network, variables: Any, normalization: Normalization | None = None, auxiliary: bool = False
    ):
        super().__init__()
        heads = network.auxiliary if auxiliary else ()
        ops = [(block.name, op) for block in (*network.plain_blocks, *heads) for op in block.ops]
        numbers = {tensor: i for i, tensor in enumerate([network.image, *(op.output for _, op in ops)])}
        weights = {**leaves(variables["params"]), **leaves(variables["batch_stats"])}
        self.layers = nn.ModuleList(layer_of(op, (block, op.name), weights) for block, op in ops)
        self.outputs = [numbers[block.output] for block in (network.blocks[-1], *heads)]
        self.wiring = wire([[numbers[tensor] for tensor in op.inputs] for _, op in ops], self.outputs)
        mean, std = normalization or ((0.0,) * 3, (1 / 255,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)
        self.normalizes = normalization is not None

    def forward(self, images: Any) -> list[Any]:
        """Logits of every head, at the size of the images."""
        values = {0: (images - self.mean) / self.std if self.normalizes else images}
        for layer, (inputs, output, dead) in zip(self.layers, self.wiring, strict=True):
            values[output] = layer(*[values[number] for number in inputs])
            for number in dead:
                del values[number]
        return [values[number] for number in self.outputs]


def wire(reads: list[list[int]], kept: list[int]) -> list[tuple[list[int], int, list[int]]]:
    """(inputs, output, last read here) of every layer; layer i writes tensor i + 1."""
    last = {number: layer for layer, inputs in enumerate(reads) for number in inputs}
    dead = [[n for n, reader in last.items() if reader == layer and n not in kept] for layer in range(len(reads))]
    return [(inputs, layer + 1, dead[layer]) for layer, inputs in enumerate(reads)]


class Sum(nn.Module):
    """Sum of feature maps, then ReLU where asked for."""

    def __init__(self, relu: bool):
        super().__init__()
        self.relu = relu

    def forward(self, *inputs: Any) -> Any:
        """Adds them up."""
        x = functools.reduce(torch.add, inputs)
        return functional.relu(x) if self.relu else x


class Gate(nn.Module):
    """First input times the sigmoid of the second."""

    def forward(self, x: Any, gate: Any) -> Any:
        """Opens and closes."""
        return x * torch.sigmoid(gate)


class Concat(nn.Module):
    """Channels side by side."""

    def forward(self, *inputs: Any) -> Any:
        """Joins them."""
        return torch.cat(inputs, 1)


class Resize(nn.Module):
    """First input, bilinearly resized to the size of the second."""

    def forward(self, x: Any, like: Any) -> Any:
        """Resizes."""
        return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class GlobalMean(nn.Module):
    """Mean over all pixels."""

    def forward(self, x: Any) -> Any:
        """One pixel."""
        return x.mean((2, 3), keepdim=True)


@functools.singledispatch
def layer_of(op: Op, path: Path, weights: Leaves) -> nn.Module:
    """The layer of an operator, with its weights."""
    raise NotImplementedError(f"operator {type(op).__name__} does not occur in BiSeNetV2")


@layer_of.register
def _(op: operators.Conv, path: Path, weights: Leaves) -> nn.Module:
    inputs, outputs = op.inputs[0].channels, op.output.channels
    groups = inputs if op.depthwise else 1
    conv = nn.Conv2d(
        inputs, outputs, op.kernel, op.stride, [side // 2 for side in op.kernel], groups=groups, bias=op.bias
    )
    kernel = weights[(*path, "kernel")][::-1, ::-1].transpose(3, 2, 0, 1)
    fill(conv, {"weight": kernel, **({"bias": weights[(*path, "bias")]} if op.bias else {})})
    norm = [norm_of(outputs, (*path, "norm"), weights)] if op.norm else []
    return nn.Sequential(conv, *norm, *([nn.ReLU(inplace=True)] if op.activation == "relu" else []))


@layer_of.register
def _(op: operators.BatchNorm, path: Path, weights: Leaves) -> nn.Module:
    return norm_of(op.output.channels, path, weights)


@layer_of.register
def _(op: operators.Pool, path: Path, weights: Leaves) -> nn.Module:
    return nn.MaxPool2d(3, 2, 1) if op.kind == "max" else nn.AvgPool2d(3, 2, 1)


@layer_of.register
def _(op: operators.Add, path: Path, weights: Leaves) -> nn.Module:
    return Sum(op.activation == "relu")


@layer_of.register
def _(op: operators.Dropout, path: Path, weights: Leaves) -> nn.Module:
    return nn.Dropout(op.rate)


@layer_of.register(operators.Gate)
@layer_of.register(operators.Concat)
@layer_of.register(operators.Resize)
@layer_of.register(operators.GlobalMean)
def _(op: Op, path: Path, weights: Leaves) -> nn.Module:
    return {"Gate": Gate, "Concat": Concat, "Resize": Resize, "GlobalMean": GlobalMean}[type(op).__name__]()


def norm_of(channels: int, path: Path, weights: Leaves) -> nn.BatchNorm2d:
    """Batch norm; PyTorch's momentum is the share of the new value."""
    norm = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    fill(norm, {name: weights[(*path, leaf)] for name, leaf in names.items()})
    return norm


def fill(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies arrays into the parameters and buffers of a layer."""
    with torch.no_grad():
        for name, array in arrays.items():
            getattr(module, name).copy_(torch.tensor(np.ascontiguousarray(array)))


def leaves(tree: Any, path: Path = ()) -> Leaves:
    """Every leaf by its path."""
    if not isinstance(tree, Mapping):
        return {path: np.asarray(tree)}
    return {key: leaf for name, value in tree.items() for key, leaf in leaves(value, (*path, name)).items()}


def mirrored(pictures: np.ndarray) -> Any:
    """Pictures or labels, [b h w ...], as a mirrored tensor; channels come first."""
    array = pictures[:, ::-1, ::-1]
    return torch.tensor(np.ascontiguousarray(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array))
