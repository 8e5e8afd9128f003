"""Some examples of a source, or those of several sources."""

import hashlib
from collections.abc import Sequence

import numpy as np

from rtseg_jax.data.dataset import Description, Example, Source, describe_example, fingerprint_of


class Subset:
    """The examples of a source at some indices, in their order."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self._source, self._indices = source, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._indices[index]]

    def describe(self, index: int) -> Description:
        """Name and files of an example."""
        return describe_example(self._source, self._indices[index])

    def fingerprint(self) -> str | None:
        """Changes with the source and with what is taken of it."""
        whole = fingerprint_of(self._source)
        return None if whole is None else hashlib.sha256(f"{whole} {self._indices}".encode()).hexdigest()


class Joined:
    """The examples of several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Example:
        source, index = self._place(index)
        return source[index]

    def describe(self, index: int) -> Description:
        """Name and files of an example."""
        return describe_example(*self._place(index))

    def fingerprint(self) -> str | None:
        """Changes with any of the sources."""
        parts = [fingerprint_of(source) for source in self._sources]
        known = [part for part in parts if part is not None]
        return hashlib.sha256(" ".join(known).encode()).hexdigest() if len(known) == len(parts) else None

    def _place(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._sources[number], index - int(self._ends[number]) + len(self._sources[number])


def spread(source: Source, most: int) -> tuple[int, ...]:
    """At most so many indices, spread evenly from the first to the last: neighbours may be frames of one video."""
    number = len(source)
    return tuple(sorted({int(index) for index in np.linspace(0, number - 1, min(most, number))}))


def hold_out(source: Source, share: float) -> tuple[Source, Source]:
    """Training pictures without a `share` of them, and those: decisions are made on pictures of their own.

    They are spread over the whole, so that no scene is lost to training: without the last tenth of CamVid's pictures, a
    network ends 5 points of mIoU lower. Where neighbours are frames of one video, the two parts resemble each
    other, which favours no decision. At least one picture is held out; where `share` is 0, or where there is one
    picture only, both parts are the whole.
    """
    number = len(source)
    if share == 0 or number < 2:
        return source, source
    held = spread(source, max(1, round(share * number)))
    return Subset(source, sorted(set(range(number)) - set(held))), Subset(source, held)
