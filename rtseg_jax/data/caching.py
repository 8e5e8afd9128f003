"""Keep decoded or drawn examples in memory."""

from typing import Any

from rtseg_jax.data.augmentation import prepare
from rtseg_jax.data.dataset import Dataset, DataSpec, Description, Example, Source, describe_example, fingerprint_of
from rtseg_jax.errors import UserError

CACHE_BYTES = 1 << 30
"""Default bound for one split. The 367 training pictures of CamVid at 360 × 480 need 254 MB."""


class CachedSource:
    """A source that remembers what it has read, up to about `max_bytes`; the rest is read again each time.

    Its arrays are read-only, because the same ones are handed out again and again. In another process it starts empty.
    """

    def __init__(self, source: Source, max_bytes: int = CACHE_BYTES):
        self.source, self.max_bytes = source, max_bytes
        self._room, self._kept = max_bytes, dict[int, Example]()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        if index in self._kept:
            return self._kept[index]
        example = self.source[index]
        arrays = (example["image"], example["label"])
        for array in arrays:
            array.flags.writeable = False
        # Without a lock: threads that meet here may misjudge the room by a picture each, which does no harm.
        if (size := sum(array.nbytes for array in arrays)) <= self._room:
            self._room -= size
            self._kept[index] = example
        return example

    def __reduce__(self) -> tuple[Any, ...]:
        # Pictures that are kept would be copied through a pipe into every worker.
        return CachedSource, (self.source, self.max_bytes)

    def divided(self, parts: int) -> "CachedSource":
        """The same source with so many times less room: for processes that keep what they read each for itself."""
        return CachedSource(self.source, self.max_bytes // parts)

    def describe(self, index: int) -> Description:
        """Name and files of an example."""
        return describe_example(self.source, index)

    def fingerprint(self) -> str | None:
        """That of the source."""
        return fingerprint_of(self.source)


class PreparedSource:
    """The examples of a source at `spec.base_size`: what random scales begin with, and smaller to keep."""

    def __init__(self, source: Source, spec: DataSpec):
        self._source, self._spec = source, spec

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        # Once both are resized nobody can see it any more.
        if example["image"].shape[:2] != example["label"].shape:
            raise UserError(
                f"{self._spec.name}, example {index}: picture {example['image'].shape[:2]} and label "
                f"{example['label'].shape} differ; resize the label to the picture with nearest neighbour"
            )
        return prepare(example, self._spec)

    def describe(self, index: int) -> Description:
        """Name and files of an example."""
        return describe_example(self._source, index)

    def fingerprint(self) -> str | None:
        """That of the source."""
        return fingerprint_of(self._source)


def uncached(source: Source) -> Source:
    """The source below the cache that a registry's row may have put around it."""
    return source.source if isinstance(source, CachedSource) else source


def cached(source: Source, spec: DataSpec) -> Source:
    """The same examples, kept in memory up to `spec.cache_gib`."""
    return CachedSource(source, int(spec.cache_gib * (1 << 30)))


def kept_in_memory(dataset: Dataset, spec: DataSpec) -> Dataset:
    """The data set with training pictures prepared, and each split kept in memory up to `spec.cache_gib`."""
    train, validation = uncached(dataset.train), uncached(dataset.validation)
    if spec.base_size is not None:
        train = PreparedSource(train, spec)
    return Dataset(dataset.info, cached(train, spec), cached(validation, spec))
