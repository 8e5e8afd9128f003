"""One mesh axis, `data`: batches are split over all devices, everything else is on each of them."""

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rtseg_jax.errors import UserError


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices, of every process, along `data`."""
    return Mesh(np.asarray(devices or jax.devices()), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """First axis divided over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh, field: str) -> None:
    """Raises `UserError` where a global batch cannot be divided over the devices."""
    if batch_size % mesh.size:
        raise UserError(
            f"{field} is {batch_size}, which {mesh.size} devices cannot share; use a multiple of {mesh.size}"
        )


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Makes global arrays of what every process read as its part of a batch."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split(mesh), x), batch)


def on_device(batches: Iterator[Any], mesh: Mesh, count: int) -> Generator[Any, None, None]:
    """The next `count` batches as global arrays, each on its way while the one before it is used.

    Closing it closes `batches` too, where they are a generator.
    """
    waiting: deque[Any] = deque()
    try:
        for _ in range(count):
            waiting.append(put_batch(next(batches), mesh))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting
    finally:
        if isinstance(batches, Generator):
            batches.close()


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree to every device; the result never shares memory with the argument, so it may be donated."""
    return jax.tree.map(lambda x: jax.device_put(np.array(x), replicated(mesh)), tree)
