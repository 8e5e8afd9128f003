"""Look at every example of a data set and keep what is worth telling: counts, findings, and where classes can be seen.

What is kept does not grow with the set, except for some hundred bytes by which a picture is known again.
"""

import dataclasses
import hashlib
import os
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import PurePath

import cv2
import numpy as np
from jaxtyping import Int64, UInt8
from rich.console import Console
from rich.progress import track

from rtseg_jax.data.checking import ahead, look_at, two_class_mask, two_classes_as_0_and_255
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Description, Size, Source, describe_example
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.folder import TWO_CLASSES
from rtseg_jax.data.registry import dataset_info, entry_of, open_split, split_names
from rtseg_jax.data.tally import Tally, pixel_counts
from rtseg_jax.errors import UserError

ALIKE = 4
"""Grey levels: small copies of two pictures that differ by less on average show the same."""

_SMALL = (8, 8)
_COPY_MARKS = re.compile(r"(?:[ _-]*(?:\(\d+\)|copy|kopie|copie|copia)(?: \d+)?)+$")


@dataclass(frozen=True)
class Look:
    """What one example shows, without its arrays; or what is wrong with it.

    Attributes:
      size: (height, width).
      pixels: of each class, number 255 are the ignored ones.
      digest: of the decoded picture: a copy in another format without loss has the same.
      small: the picture in grey, 8 × 8.
    """

    finding: Finding | None = None
    size: Size = (0, 0)
    pixels: Int64[np.ndarray, "256"] | None = None
    digest: bytes = b""
    small: bytes = b""


@dataclass
class SplitFacts:
    """What is known of one split.

    Attributes:
      name: of the split.
      number: of its pairs of picture and label.
      tally: sums over those that could be read.
      findings: what is wrong.
      bad: numbers of examples that cannot be used.
      shows: for each class the number of the example of which it takes the largest share.
      repeated: pictures that stand in this split before.
      source: the examples; None where the split could not be opened.
    """

    name: str
    number: int = 0
    tally: Tally = field(default_factory=Tally)
    findings: list[Finding] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    shows: dict[int, int] = field(default_factory=dict)
    repeated: int = 0
    source: Source | None = None


@dataclass
class Inspection:
    """What is known of a data set: `spec` as it was read, its classes, and its splits."""

    spec: DataSpec
    info: DatasetInfo
    splits: list[SplitFacts]
    findings: list[Finding] = field(default_factory=list)

    @property
    def all_findings(self) -> list[tuple[str, Finding]]:
        """(split, finding); those of the whole set first, with an empty name."""
        of_splits = [(split.name, finding) for split in self.splits for finding in split.findings]
        return [("", finding) for finding in self.findings] + of_splits

    @property
    def training(self) -> Tally:
        """Sums over the splits that are trained on."""
        result = Tally()
        for split in self.splits:
            if split.name in split_names(self.spec.train_split):
                result.sizes.update(split.tally.sizes)
                result.pixels += split.tally.pixels
                result.pictures += split.tally.pictures
        return result


class SeenPictures:
    """Pictures of all splits, by what they show: which of them stand in two."""

    def __init__(self) -> None:
        self._by_digest: dict[bytes, tuple[str, str]] = {}
        self._by_name: defaultdict[str, list[tuple[str, str, bytes]]] = defaultdict(list)

    def add(self, split: str, described: Description, look: Look) -> Finding | str | None:
        """A finding where the picture stands in another split; the other file where it stands in this one twice."""
        file = described.image or described.name
        mine = (split, file)
        first = self._by_digest.setdefault(look.digest, mine)
        if first[0] != split:
            how = "is the same picture as" if first[1] != file else "is listed twice, here and as"
            return _in_two_splits(file, how, *first)
        alike = self._by_name[name_key(file)]
        others = (entry for entry in alike if entry[0] != split and _look_alike(entry[2], look.small))
        found = next(others, None)
        alike.append((split, file, look.small))
        if found is not None:
            return _in_two_splits(file, "looks the same and is called nearly the same as", *found[:2])
        return None if first is mine else first[1]


def inspect(spec: DataSpec, workers: int = 0) -> Inspection:
    """Reads every labelled example of the splits to train on, to score, and to test.

    Bad files are collected; nothing about them is raised. Labels that are 0 and 255 only are a finding, and are then
    read as two classes, so that the rest can be looked at.

    Args:
      spec: names the data set.
      workers: processes that decode; 0: threads of this one.

    Raises:
      UserError: the data set or its classes cannot be known, or none of its splits can be opened.
    """
    spec = dataclasses.replace(spec, bad="skip")
    general: list[Finding] = []
    spec, info, masks = classes_of(spec)
    if masks is not None:
        general.append(masks)
    facts, errors = list[SplitFacts](), list[UserError]()
    wanted = tuple(dict.fromkeys([*split_names(spec.train_split), *split_names(spec.validation_split)]))
    for name in [*wanted, *(["test"] if "test" in entry_of(spec.name).splits and "test" not in wanted else [])]:
        try:
            source, alone = open_split(spec, info, name)
        except UserError as error:
            if name in wanted:
                errors.append(error)
                facts.append(SplitFacts(name, findings=[finding_of(error, f"the split {name}")]))
            continue
        if name in wanted or len(source):  # test splits are published without labels
            facts.append(SplitFacts(name, len(source), findings=list(alone), source=source))
    if len(errors) == len(facts):
        raise errors[0]
    look_at_splits([split for split in facts if split.source is not None], info, workers)
    return Inspection(spec, info, facts, general)


def classes_of(spec: DataSpec) -> tuple[DataSpec, DatasetInfo, Finding | None]:
    """The classes; where labels are 0 and 255 only, the finding, and the spec that reads them as two classes."""
    try:
        return spec, dataset_info(spec), None
    except BadFile as error:
        if error.finding != two_class_mask(error.finding.file, *TWO_CLASSES):
            raise
        told = dataclasses.replace(spec, ids="0={},255={}".format(*TWO_CLASSES))
        return told, dataset_info(told), error.finding


def look_at_splits(splits: Sequence[SplitFacts], info: DatasetInfo, workers: int) -> None:
    """Fills in what every example of every split shows; a progress bar is shown on a terminal."""
    known = SeenPictures()
    sources = [split.source for split in splits if split.source is not None]
    threads = min(16, os.cpu_count() or 1)
    # Spawned and not forked: a fork of a process with threads may hang.
    pool = (
        ProcessPoolExecutor(workers, get_context("spawn"), _give, (sources, info))
        if workers
        else ThreadPoolExecutor(threads)
    )
    console = Console(file=sys.stderr)
    try:
        with pool:
            for number, (split, source) in enumerate(zip(splits, sources, strict=True)):
                work = partial(_look_in_worker, number) if workers else partial(look, source, info)
                looks = ahead(pool, work, len(source), 2 * (workers or threads))
                title = f"looking at {split.name}"
                bar = track(looks, title, len(source), console=console, disable=not console.is_terminal)
                add_looks(split, source, bar, info, known)
    except BrokenProcessPool as error:
        raise UserError("a process that reads pictures was killed, perhaps for memory; use fewer --workers") from error


def add_looks(facts: SplitFacts, source: Source, looks: Iterable[Look], info: DatasetInfo, known: SeenPictures) -> None:
    """Sums up the looks at all examples of a split, in their order."""
    largest: dict[int, float] = {}
    for index, seen in enumerate(looks):
        if seen.finding is not None:
            facts.findings.append(seen.finding)
            facts.bad.add(index)
            continue
        assert seen.pixels is not None
        facts.tally.add(seen.size, seen.pixels)
        shares = seen.pixels / max(1, seen.pixels.sum())
        for of_class in np.flatnonzero(seen.pixels[: info.num_classes]).tolist():
            if shares[of_class] > largest.get(of_class, 0):
                largest[of_class], facts.shows[of_class] = shares[of_class], index
        twice = known.add(facts.name, describe_example(source, index), seen)
        if isinstance(twice, Finding):
            facts.findings.append(twice)
        elif twice is not None:
            facts.repeated += 1
    facts.findings += about_all(facts, info)


def about_all(facts: SplitFacts, info: DatasetInfo) -> list[Finding]:
    """What only the whole split shows: a mask of 0 and 255, classes that never occur, nothing to look at."""
    assert facts.source is not None
    if not facts.tally.number:
        return [Finding(f"the split {facts.name}", "has no picture that can be used", "correct what is named above")]
    masks = two_classes_as_0_and_255(facts.tally.pixels > 0, facts.source, info)
    if masks is not None:
        return [masks]
    absent = facts.tally.absent(info)
    if not absent:
        return []
    classes = f"class{'es' * (len(absent) > 1)} {', '.join(absent)}"
    return [
        Finding(
            f"the split {facts.name}",
            f"has no pixel of the {classes}: the IoU there is undefined, and what is never seen is not learned",
            "add pictures that show it, or leave it out with --config.data.classes",
        )
    ]


def shown_examples(facts: SplitFacts, most: int) -> tuple[int, ...]:
    """Numbers of examples to look at: for the rarest classes where they are largest, the rest spread evenly."""
    rare = sorted(facts.shows, key=lambda index: int(facts.tally.pixels[index]))
    chosen = dict.fromkeys(facts.shows[index] for index in rare[: most // 2])
    good = [index for index in range(facts.number) if index not in facts.bad]
    if good:
        chosen |= dict.fromkeys(good[int(at)] for at in np.linspace(0, len(good) - 1, min(most, len(good))))
    return tuple(sorted([*chosen][:most]))


def finding_of(error: UserError, where: str) -> Finding:
    """The finding in an error about a whole split."""
    if isinstance(error, BadFile):
        return error.finding
    what, _, remedy = str(error).rpartition("; ")
    return Finding(where, f"cannot be opened: {what or remedy}", remedy if what else "correct it")


def name_key(file: str) -> str:
    """What a name is when case, accents, ending, separators and marks of copies are left aside."""
    stem = unicodedata.normalize("NFKD", PurePath(file).stem).casefold()
    stem = _COPY_MARKS.sub("", stem.removeprefix("copy of "))
    return re.sub(r"[\W_]+", "", stem)


def _in_two_splits(file: str, how: str, split: str, other: str) -> Finding:
    return Finding(
        file,
        f"{how} {other} of the split {split}",
        "keep it in one of the two: a score on what was trained on means nothing",
    )


def look(source: Source, info: DatasetInfo, index: int) -> Look:
    """One example, looked at with the function that training uses."""
    example = look_at(source, index, info)
    if isinstance(example, Finding):
        return Look(example)
    image, label = example["image"], example["label"]
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, person=str(image.shape[:2])[:16].encode())
    return Look(None, label.shape, pixel_counts(label), digest.digest(), _small(image))


def _small(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _SMALL, interpolation=cv2.INTER_AREA).tobytes()


def _look_alike(one: bytes, other: bytes) -> bool:
    first, second = (np.frombuffer(small, np.uint8).astype(int) for small in (one, other))
    return float(np.abs(first - second).mean()) < ALIKE


# In a worker process: what it looks at. Sent once, and not with every example.
_given: list[tuple[Sequence[Source], DatasetInfo]] = []


def _give(sources: Sequence[Source], info: DatasetInfo) -> None:
    _given[:] = [(sources, info)]


def _look_in_worker(split: int, index: int) -> Look:
    (sources, info) = _given[0]
    return look(sources[split], info, index)
