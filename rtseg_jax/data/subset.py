"""Some examples of a source."""

from collections.abc import Sequence

import numpy as np

from rtseg_jax.data.dataset import Example, Source


class Subset:
    """The examples of a source at some indices, in their order."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self._source, self._indices = source, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._indices[index]]


def spread(source: Source, most: int) -> tuple[int, ...]:
    """At most so many indices, spread evenly from the first to the last: neighbours may be frames of one video."""
    number = len(source)
    return tuple(sorted({int(index) for index in np.linspace(0, number - 1, min(most, number))}))
