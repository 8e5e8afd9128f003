"""Look at a whole source before hours are spent on it."""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.console import Console
from rich.progress import track

from rtseg_jax.data.dataset import DatasetInfo, Example, Source, describe_example, fingerprint_of
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.remembering import recall, remember
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE

Visit = Callable[[int, Example], None]
"""Is shown every example that could be read, in order."""


def check_source(source: Source, info: DatasetInfo, description: str = "checking pictures") -> None:
    """Decodes every example once and raises the first finding; a source found good is not read again until it changes.

    Raises:
      UserError: the first finding.
    """
    mark = check_mark(source, info)
    if mark is not None and recall("checked", mark) == []:
        return
    for _, finding in findings(source, info, description):
        raise BadFile(finding.file, finding.what, finding.remedy)
    note_good(source, info)


def note_good(source: Source, info: DatasetInfo) -> None:
    """Remembers that a source was looked at whole and nothing is wrong with it."""
    if (mark := check_mark(source, info)) is not None:
        remember("checked", mark, [])


def bad_examples(source: Source, info: DatasetInfo, description: str = "checking pictures") -> dict[int, Finding]:
    """The finding of each example that cannot be used; remembered until a file changes.

    Raises:
      UserError: a finding about the whole source, which leaving out single examples does not mend.
    """
    mark = check_mark(source, info)
    known = recall("checked", mark) if mark is not None else None
    if known is not None:
        return {index: Finding(**finding) for index, finding in known}
    result = {}
    for index, finding in findings(source, info, description):
        if index is None:
            raise UserError(finding.line)
        result[index] = finding
    if mark is not None:
        remember("checked", mark, [[index, dataclasses.asdict(finding)] for index, finding in result.items()])
    return result


def check_mark(source: Source, info: DatasetInfo) -> str | None:
    """By what a check is remembered; None where the source has no fingerprint."""
    fingerprint = fingerprint_of(source)
    return None if fingerprint is None else f"{fingerprint} {info.class_names} {info.labels}"


def findings(
    source: Source, info: DatasetInfo, description: str = "checking pictures", visit: Visit | None = None
) -> Iterator[tuple[int | None, Finding]]:
    """What is wrong, with the number of the example or None for the whole source; each example is decoded once.

    Threads decode ahead, and a progress bar is shown on a terminal.
    """
    console = Console(file=sys.stderr)
    seen = np.zeros(256, bool)
    threads = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        looked_at = _ahead(pool, lambda index: _look(source, index, info), len(source), 2 * threads)
        bar = track(looked_at, description, len(source), console=console, disable=not console.is_terminal)
        for index, result in enumerate(bar):
            if isinstance(result, Finding):
                yield index, result
                continue
            seen[np.bincount(result["label"].ravel(), minlength=256) > 0] = True
            if visit is not None:
                visit(index, result)
    if (about_all := two_classes_as_0_and_255(seen, source, info)) is not None:
        yield None, about_all


def two_classes_as_0_and_255(seen: np.ndarray, source: Source, info: DatasetInfo) -> Finding | None:
    """A finding where all labels hold only class 0 and ignored pixels that are 255 in the files.

    Such masks mean two classes to those who drew them; read as they stand, there is nothing to learn.
    """
    if info.num_classes > 2 or set(np.flatnonzero(seen)) != {0, IGNORE} or info.labels.ids.get(255) != IGNORE:
        return None
    if info.labels.ids.get(0) != 0:
        return None
    where = describe_example(source, 0).label
    return two_class_mask(where, info.class_names[0], info.class_names[1] if info.num_classes == 2 else "foreground")


def two_class_mask(where: str, background: str, foreground: str) -> Finding:
    """Labels of 0 and 255 only, at least the one in the file `where`; with the setting that makes them work."""
    return Finding(
        where,
        "and all other labels hold only 0 and 255, and 255 means ignored",
        f"for two classes, set --config.data.ids=0={background},255={foreground}",
    )


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], Finding | Example], number: int, most: int
) -> Iterator[Finding | Example]:
    """Results in order, with at most so many waiting: memory does not grow with the set."""
    waiting = [pool.submit(work, index) for index in range(min(most, number))]
    for index in range(number):
        result = waiting.pop(0).result()
        if index + most < number:
            waiting.append(pool.submit(work, index + most))
        yield result


def _look(source: Source, index: int, info: DatasetInfo) -> Finding | Example:
    try:
        example = source[index]
    except BadFile as error:
        return error.finding
    image, label = example["image"], example["label"]
    file = describe_example(source, index).label or f"{info.name}, example {index},"
    if image.shape[:2] != label.shape:
        what = f"has a picture of {image.shape[:2]} and a label of {label.shape}"
        return Finding(file, what, "make both of one size")
    wrong = label[(label >= info.num_classes) & (label != IGNORE)]
    if wrong.size:
        return Finding(file, f"has the class {wrong[0]}, outside of {info.num_classes}", "correct the label")
    return example
