"""Where every array of a run lies on its devices: axes of arrays by name, and what these names mean on the mesh.

The mesh has three axes. `data` and `fsdp` divide the pictures of a batch, `fsdp` also kernels with their momentum, and
`spatial` divides the rows of pictures. Everything is one program over global arrays: sums over a batch, batch norm's
statistics among them, are those of the global batch whatever the mesh is.
"""

import dataclasses
import functools
import math
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from rtseg_jax.architecture import Network
from rtseg_jax.architecture.graph import Op
from rtseg_jax.errors import UserError
from rtseg_jax.models.division import Division
from rtseg_jax.training.specs import MeshSpec

MESH_AXES: Mapping[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "rows": ("spatial",),
    "outputs": ("fsdp",),
    "inputs": ("fsdp",),
    "rows as read": (),  # the augmentation takes any of them
    "columns": (),
    "colours": (),
    "draws": (),
    "taps": (),
    "channels": (),
    "indicators": (),
    "steps": (),
    "choices": (),
    "positions": (),
}
"""The mesh axes that divide each logical axis."""

WHERE_THEY_FIT = ("outputs", "inputs")
"""Logical axes that are divided where their length allows it, and otherwise stay whole; any other one must divide."""

KERNEL = ("taps", "taps", "inputs", "outputs")
PICTURES = {"image": ("batch", "rows", "columns", "colours"), "label": ("batch", "rows", "columns")}
AS_READ = {
    "image": ("batch", "rows as read", "columns", "colours"),
    "label": ("batch", "rows as read", "columns"),
    "augmentation": ("batch", "draws"),
}
STATE = {
    "kernel": KERNEL,
    "bias": ("channels",),
    "scale": ("channels",),
    "slope": ("channels",),
    "mean": ("channels",),
    "var": ("channels",),
    "position": ("positions", "channels"),
    "masks": ("indicators",),
    "samples": ("steps", "indicators"),
    "widths": ("indicators",),
    "paths": ("choices",),
}
"""Logical axes of the arrays of a state by name: of the leaf, or of the tree that holds it.

Optimizer states have the names of what they follow. A number has no axes, and needs no name.
"""


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices of a run as a mesh, and the sharding of each array on it."""

    mesh: Mesh

    @property
    def everywhere(self) -> NamedSharding:
        """On every device whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def division(self) -> Division:
        """Into how many parts the devices divide a batch."""
        return Division(self.mesh.shape["data"] * self.mesh.shape["fsdp"], self.mesh.shape["spatial"])

    def sharding(self, axes: Sequence[str], shape: Sequence[int]) -> NamedSharding:
        """Of an array with these logical axes.

        A mesh axis divides one axis of an array at most, the last that it may.
        """
        parts: list[Any] = [None] * len(axes)
        taken: set[str] = set()
        for position in reversed(range(len(axes))):
            name = axes[position]
            wanted = tuple(axis for axis in MESH_AXES[name] if self.mesh.shape[axis] > 1 and axis not in taken)
            if name in WHERE_THEY_FIT and shape[position] % math.prod(self.mesh.shape[axis] for axis in wanted):
                continue
            taken.update(wanted)
            parts[position] = wanted if len(wanted) > 1 else next(iter(wanted), None)
        while parts and parts[-1] is None:
            parts.pop()
        return NamedSharding(self.mesh, PartitionSpec(*parts))

    def of_state(self, tree: Any) -> Any:
        """Shardings of a state, or of a part of it, by the names in `STATE`; raises `UserError` where none is there."""
        return jax.tree_util.tree_map_with_path(self._of_leaf, tree)

    def _of_leaf(self, path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        shape = np.shape(leaf)
        if not shape:
            return self.everywhere
        names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
        axes = next((STATE[name] for name in reversed(names) if name in STATE), None)
        if axes is None or len(axes) != len(shape):
            raise UserError(
                f"{jax.tree_util.keystr(path)} of shape {tuple(shape)}: nothing says which devices hold it; give its "
                "axes names in STATE, in rtseg_jax/training/placement.py"
            )
        return self.sharding(axes, shape)

    def of_batch(self, batch: Mapping[str, Any]) -> dict[str, NamedSharding]:
        """Shardings of a batch; rows that are still to be augmented stay together."""
        table = AS_READ if "augmentation" in batch else PICTURES
        return {name: self.sharding(table[name], np.shape(value)) for name, value in batch.items()}

    def put(self, tree: Any) -> Any:
        """A state, or a part of it, in its place; the result never shares memory with the argument: it may be donated.

        Every process calls it with the same values.
        """

        def copy(leaf: Any, sharding: NamedSharding) -> jax.Array:
            if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
                return jax.device_put(leaf, sharding, may_alias=False)
            return jax.device_put(np.array(leaf), sharding)

        return jax.tree.map(copy, tree, self.of_state(tree))

    def put_batch(self, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Makes global arrays of what every process read as its part of a batch."""
        _, readers = self.reader
        shapes = {name: (readers * len(value), *np.shape(value)[1:]) for name, value in batch.items()}
        table = AS_READ if "augmentation" in batch else PICTURES
        return {
            name: jax.make_array_from_process_local_data(self.sharding(table[name], shapes[name]), value, shapes[name])
            for name, value in batch.items()
        }

    def batches(self, batches: Iterator[Any], count: int) -> Generator[Any, None, None]:
        """The next `count` batches as global arrays, each on its way while the one before it is used.

        Closing it closes `batches` too, where they are a generator.
        """
        waiting: deque[Any] = deque()
        try:
            for _ in range(count):
                waiting.append(self.put_batch(next(batches)))
                if len(waiting) > 1:
                    yield waiting.popleft()
            yield from waiting
        finally:
            if isinstance(batches, Generator):
                batches.close()

    @functools.cached_property
    def reader(self) -> tuple[int, int]:
        """Which part of a batch this process reads, and of how many, see `part_to_read`."""
        owners = [device.process_index for device in self.mesh.devices.flat]
        return part_to_read(np.reshape(owners, self.division), jax.process_index())

    def whole(self, tree: Any) -> Any:
        """The same arrays on every device whole, as the host can read them."""
        if self.mesh.shape["fsdp"] == 1:
            return tree
        return jax.jit(lambda leaves: leaves, out_shardings=self.everywhere)(tree)

    def gathered(self, tree: Any) -> Any:
        """Inside a compiled function: weights as every device needs them to compute, all of each."""
        if self.mesh.shape["fsdp"] == 1:
            return tree
        return jax.lax.with_sharding_constraint(tree, self.everywhere)

    def shared_out(self, tree: Any) -> Any:
        """Inside a compiled function: gradients where the weights lie that they move."""
        if self.mesh.shape["fsdp"] == 1:
            return tree
        return jax.lax.with_sharding_constraint(tree, self.of_state(tree))

    def divided(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Inside a compiled function: an augmented batch with its rows divided."""
        if self.division.rows == 1:
            return batch
        return jax.lax.with_sharding_constraint(dict(batch), self.of_batch(batch))

    def check_batch_size(self, batch_size: int, field: str) -> None:
        """Raises `UserError` where a global batch cannot be divided."""
        if batch_size % self.division.pictures:
            raise UserError(
                f"{field} is {batch_size}, which {self.division.pictures} devices cannot share; use a multiple of "
                f"{self.division.pictures}"
            )

    def check_rows(self, network: Network, size: tuple[int, int], field: str) -> None:
        """Raises `UserError` where rows of pictures of a size, or of the network's maps, cannot be divided.

        Every part must have equally many rows, two at least, and more than a window reaches into the next part: XLA
        divides other maps wrongly (found with jaxlib 0.9.2: with one row in each part a 3×3 convolution came out
        multiplied by the size of another mesh axis, and the filling of uneven parts got into the gradients of
        depthwise kernels). A map of one row is on every device whole.
        """
        if self.division.rows == 1:
            return
        for block in (*network.plain_blocks, *network.auxiliary):
            for op in block.ops:
                for tensor in (op.output, *op.inputs):
                    rows, least = tensor.size(size)[0], self.division.rows * max(2, reach(op) + 1)
                    if rows > 1 and (rows % self.division.rows or rows < least):
                        raise UserError(
                            f"{field} has height {size[0]}, at which a map has {rows} rows: config.mesh.spatial="
                            f"{self.division.rows} needs a multiple of {self.division.rows}, and {least} at least; use "
                            "another height or mesh"
                        )


def reach(op: Op) -> int:
    """Rows above or below its own that an operator reads, at least."""
    window = getattr(op, "kernel", None) or getattr(op, "window", None) or (1, 1)
    return (window[0] - 1) * getattr(op, "dilation", 1) // 2


def part_to_read(owners: Int[np.ndarray, "parts rows"], process: int) -> tuple[int, int]:
    """Which part of a batch a process reads, and of how many; processes that share pictures read the same.

    Args:
      owners: the process that holds each part of the batch and each part of its rows.
      process: number of a process.

    Raises:
      UserError: the parts of two processes overlap without being the same.
    """
    held = {int(owner): tuple(np.flatnonzero((owners == owner).any(1)).tolist()) for owner in np.unique(owners)}
    different = sorted(set(held.values()))
    if len(different) * len(different[0]) != len(owners):
        raise UserError(
            f"config.mesh.spatial is {owners.shape[1]}: some processes would share only a part of their pictures; use "
            "a divisor or a multiple of the number of devices of a process"
        )
    return different.index(held[process]), len(different)


def make_placement(spec: MeshSpec, devices: Sequence[jax.Device] | None = None) -> Placement:
    """The placement on all devices, of every process; raises `UserError` where the mesh does not fit them."""
    devices = jax.devices() if devices is None else devices
    data = spec.data or len(devices) // (spec.fsdp * spec.spatial)
    shape = (data, spec.fsdp, spec.spatial)
    if math.prod(shape) != len(devices):
        named = " × ".join(f"{name} {size}" for name, size in dataclasses.asdict(spec).items() if size)
        raise UserError(
            f"config.mesh is {named}, and there are {len(devices)} devices: the sizes must divide them, and with data "
            "their product must be their number; data=0 takes what the others leave"
        )
    axes = ("data", "fsdp", "spatial")
    return Placement(jax.make_mesh(shape, axes, (AxisType.Auto,) * len(axes), devices=devices))
