"""Keep decoded or drawn examples in memory."""

from typing import Any

from rtseg_jax.data.dataset import Description, Example, Source, describe_example, fingerprint_of

CACHE_BYTES = 1 << 30
"""Default bound for one split. The 367 training pictures of CamVid at 360 × 480 need 254 MB."""


class CachedSource:
    """A source that remembers what it has read, up to about `max_bytes`; the rest is read again each time.

    Its arrays are read-only, because the same ones are handed out again and again.
    """

    def __init__(self, source: Source, max_bytes: int = CACHE_BYTES):
        self._source, self._room = source, max_bytes
        self._kept: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        if index in self._kept:
            return self._kept[index]
        example = self._source[index]
        arrays = (example["image"], example["label"])
        for array in arrays:
            array.flags.writeable = False
        # Without a lock: threads that meet here may misjudge the room by a picture each, which does no harm.
        if (size := sum(array.nbytes for array in arrays)) <= self._room:
            self._room -= size
            self._kept[index] = example
        return example

    def describe(self, index: int) -> Description:
        """Name and files of an example."""
        return describe_example(self._source, index)

    def fingerprint(self) -> str | None:
        """That of the source."""
        return fingerprint_of(self._source)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # a worker process reads for itself
