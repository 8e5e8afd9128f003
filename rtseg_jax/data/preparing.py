"""Writes prepared copies (see `prepared`): shard by shard, so that what was written need not be read again."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from rich.console import Console
from rich.progress import Progress

from rtseg_jax.data import prepared
from rtseg_jax.data.augmentation import resize
from rtseg_jax.data.checking import ahead, look_at
from rtseg_jax.data.class_file import to_json
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Example, Size, Source, describe_example, fingerprint_of
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.registry import dataset_info, entry_of, open_split
from rtseg_jax.errors import UserError
from rtseg_jax.files import remove_remains, write_text, write_whole

SHARD = 256
"""Examples of a shard, of which an interruption loses one: about 1.5 GB of Cityscapes."""
OPTIONS = "group_size:1,zstd:1"
"""One example per chunk, for random access; compression that takes less time than reading what it saves."""


@dataclass(frozen=True)
class Prepared:
    """What a finished copy holds.

    Attributes:
      info: the data set.
      examples: number of examples by split.
      skipped: what was left out.
      bytes: size of all shards.
    """

    info: DatasetInfo
    examples: dict[str, int]
    skipped: tuple[str, ...]
    bytes: int


def prepare(spec: DataSpec, out: Path, splits: Sequence[str] = (), size: Size | None = None) -> Prepared:
    """Writes a prepared copy of the data set that `spec` names, or goes on where it was interrupted.

    Args:
      spec: `classes` and `rest` are left to those who read the copy; `ids`, `bad`, `pairs`, `seed` and
        `validation_share` have their meaning.
      out: folder to write to; made where it is missing.
      splits: names; empty for all that have labels in the source, which must include train.
      size: (height, width) that pictures are resized to, as `data.base_size` does; None for their own.

    Raises:
      UserError: the source cannot be read, `out` cannot be written or holds something else, a file cannot be used.
        Finished shards stay.
    """
    out = out.expanduser()
    if entry_of(spec.name).read is None:
        raise UserError(f"the pictures of {spec.name} are drawn; there is nothing to prepare")
    if spec.data_dir is not None and out.resolve() == Path(spec.data_dir).expanduser().resolve():
        raise UserError(f"{out} is the data set itself; name another folder with --output")
    spec = replace(spec, classes=(), rest="ignore")
    info = dataset_info(spec)
    if splits and prepared.is_prepared(out):
        splits = tuple(dict.fromkeys([*prepared.read_contents(out)["splits"], *splits]))  # none is taken away
    opened = open_splits(spec, info, splits)
    digests = {split: _digest(spec, info, split, source, size) for split, (source, _) in opened.items()}
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        remove_remains(out)  # of a command that was killed
    shards = {split: _shards(out, split, source) for split, (source, _) in opened.items()}
    _write_shards(out, opened, info, shards, digests, spec.bad, size)
    contents = {
        "format": prepared.FORMAT,
        "data_set": info.name,
        "licence": info.licence,
        "size": size,
        "digest": _sha256(digests),
        "classes": to_json(info),
        **_contents(shards, [finding.line for _, findings in opened.values() for finding in findings]),
    }
    with _writing(out):
        write_text(out / prepared.CONTENTS, json.dumps(contents) + "\n")
    parts = contents["splits"]
    return Prepared(
        info,
        {split: len(part["examples"]) for split, part in parts.items()},
        tuple(contents["skipped"]),
        sum(shard["bytes"] for part in parts.values() for shard in part["shards"]),
    )


def open_splits(
    spec: DataSpec, info: DatasetInfo, splits: Sequence[str]
) -> dict[str, tuple[Source, tuple[Finding, ...]]]:
    """The named splits with their findings; all that have labels where none is named."""
    if splits:
        return {split: open_split(spec, info, split) for split in splits}
    result = {}
    for split in entry_of(spec.name).splits:
        try:
            result[split] = open_split(spec, info, split)
        except UserError as error:
            if split == "train" or isinstance(error, BadFile):
                raise
            print(f"without the split {split}: {error}", file=sys.stderr)
    return result


def _digest(spec: DataSpec, info: DatasetInfo, split: str, source: Source, size: Size | None) -> str:
    """Of all that a split's shards depend on: shards of an equal digest are the same shards."""
    origin = [len(source), fingerprint_of(source)]
    return _sha256([prepared.FORMAT, info.name, to_json(info), split, origin, size, spec.bad])


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _shards(out: Path, split: str, source: Source) -> dict[Path, range]:
    """File and examples of each shard."""
    number = -(-len(source) // SHARD)
    return {
        out / f"{split}-{shard:05d}-of-{number:05d}.arrayrecord": range(
            shard * SHARD, min(len(source), (shard + 1) * SHARD)
        )
        for shard in range(number)
    }


def _write_shards(
    out: Path,
    opened: Mapping[str, tuple[Source, tuple[Finding, ...]]],
    info: DatasetInfo,
    shards: Mapping[str, dict[Path, range]],
    digests: Mapping[str, str],
    bad: str,
    size: Size | None,
) -> None:
    console = Console(file=sys.stderr)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        for split, of_split in shards.items():
            source = opened[split][0]
            task = bar.add_task(f"preparing {split}", total=len(source))
            there = set(out.glob(f"{split}-*.arrayrecord"))
            if foreign := [path for path in there if path not in of_split or _index(path)["digest"] != digests[split]]:
                raise UserError(f"{min(foreign)} was prepared from other data or settings; name another --output")
            for path, examples in of_split.items():
                if path in there:
                    bar.advance(task, len(examples))
                    continue
                write = partial(
                    _write_shard, source, info, examples, digests[split], bad, size, partial(bar.advance, task)
                )
                with _writing(path.parent, (OSError,)):  # its own errors are said by `_write_shard`
                    write_whole(path, write)


def _write_shard(
    source: Source,
    info: DatasetInfo,
    examples: range,
    digest: str,
    bad: str,
    size: Size | None,
    advance: Callable[[], None],
    path: Path,
) -> None:
    with _writing(path.parent):
        writer = ArrayRecordWriter(str(path), OPTIONS)
    kept, skipped = [], []
    try:
        for index, example in zip(examples, _examples(source, info, examples, size), strict=True):
            if isinstance(example, Finding):
                if bad == "refuse":
                    raise BadFile(example.file, example.what, example.remedy)
                skipped.append(example.line)
            else:
                described = describe_example(source, index)
                kept.append([described.name, described.image, described.label])
                with _writing(path.parent):
                    writer.write(prepared.to_record(example))
            advance()
        with _writing(path.parent):
            writer.write(json.dumps({"digest": digest, "examples": kept, "skipped": skipped}).encode())
            writer.close()
            with path.open("rb") as written:
                os.fsync(written.fileno())  # a name must not outlive a power cut that its content does not
    finally:
        with suppress(RuntimeError):  # what is wrong was said
            writer.close()


def _examples(source: Source, info: DatasetInfo, examples: range, size: Size | None) -> Iterator[Example | Finding]:
    """Examples in order, decoded and resized by threads."""

    def look(position: int) -> Example | Finding:
        example = look_at(source, examples[position], info)
        return example if size is None or isinstance(example, Finding) else resize(example, size)

    threads = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        yield from ahead(pool, look, len(examples), 2 * threads)


def _index(path: Path) -> dict[str, Any]:
    """The last record of a shard: digest of the plan, examples, what was skipped."""
    try:
        reader = ArrayRecordReader(str(path))
        try:
            return json.loads(reader.read([reader.num_records() - 1])[0])
        finally:
            reader.close()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}); remove it and start the same command again") from error


def _contents(shards: Mapping[str, dict[Path, range]], alone: Sequence[str]) -> dict[str, Any]:
    splits, skipped = {}, list(alone)
    for split, of_split in shards.items():
        indices = [(path, _index(path)) for path in of_split]
        skipped += [line for _, index in indices for line in index["skipped"]]
        splits[split] = {
            "shards": [
                {"file": path.name, "examples": len(index["examples"]), "bytes": path.stat().st_size}
                for path, index in indices
            ],
            "examples": [example for _, index in indices for example in index["examples"]],
        }
        if not splits[split]["examples"]:
            raise UserError(f"no picture of the split {split} can be used: {skipped[0] if skipped else 'it is empty'}")
    return {"splits": splits, "skipped": skipped}


@contextmanager
def _writing(folder: Path, kinds: tuple[type[Exception], ...] = (OSError, RuntimeError)) -> Iterator[None]:
    """Says in one line that `folder` cannot be written; ArrayRecord raises RuntimeError for that."""
    try:
        yield
    except kinds as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(
            f"{folder} cannot be written ({reason}); make room or name another --output. Finished shards stay: the "
            "same command goes on after them"
        ) from error
