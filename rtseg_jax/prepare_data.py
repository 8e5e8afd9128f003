"""Prepares a copy of a data set whose pictures need no decoding, for training from large PNGs and archives.

    python -m rtseg_jax.prepare_data --dataset=cityscapes --source=CITYSCAPES --out=PREPARED
    python -m rtseg_jax.main --config=configs/search.py --config.data.data_dir=PREPARED --workdir=WORKDIR

The copy is read like the source, and gives the same pictures and labels. A command that was interrupted goes on when it
is started again. A copy stands under the licence of its data set, most of which forbid to pass copies on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from rtseg_jax.data import DataSpec, dataset_info
from rtseg_jax.data.dataset import Size
from rtseg_jax.data.preparing import open_splits, prepare
from rtseg_jax.data.registry import entry_of
from rtseg_jax.data.tfds_builder import write_tfds
from rtseg_jax.errors import UserError

INTERRUPTED = 130
"""Exit status of a command that was stopped from the keyboard."""


def run_preparation(values: flags.FlagValues) -> str:
    """Prepares what the flags ask for; what there is to say about it."""
    for name in ("dataset", "source", "out"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; name the data set, where it lies and the folder to write to")
    entry_of(values.dataset)
    spec = DataSpec(
        values.dataset,
        data_dir=values.source,
        bad=values.bad,
        ids=values.ids,
        pairs=values.pairs,
        validation_share=values.validation_share,
        seed=values.seed,
    )
    size = parse_size(values.size)
    if values.format == "tfds":
        return _tfds(spec, Path(values.out), tuple(values.splits), size)
    if values.format != "prepared":
        raise UserError(f"--format is {values.format!r}; it is prepared or tfds")
    done = prepare(spec, Path(values.out), tuple(values.splits), size)
    lines = [f"skipped: {line}" for line in done.skipped]
    counts = ", ".join(f"{number} of {split}" for split, number in done.examples.items())
    lines.append(f"{values.out}: {counts}; {done.bytes / 1e9:.2f} GB. Licence: {done.info.licence or 'your own'}.")
    if size is not None:
        lines.append("Labels are resized: scores on this copy are not those of the data set's protocol.")
    lines.append(f"Read it with --config.data.name={values.dataset} --config.data.data_dir={values.out}")
    return "\n".join(lines)


def _tfds(spec: DataSpec, out: Path, splits: tuple[str, ...], size: Size | None) -> str:
    """Writes the same examples for other tools that read TensorFlow Datasets."""
    if size is not None:
        raise UserError(
            "--size and --format=tfds do not go together; those who read a TFDS data set resize it themselves"
        )
    info = dataset_info(spec)
    sources = {split: source for split, (source, _) in open_splits(spec, info, splits).items()}
    folder = write_tfds(info, sources, out)
    licence = f"Licence: {info.licence or 'your own'}."
    return f"{folder}: {', '.join(sources)}. {licence}\nRead it with tfds.builder_from_directory"


def parse_size(text: str | None) -> Size | None:
    """(height, width) from HEIGHT,WIDTH; None where nothing is given."""
    if not text:
        return None
    sides = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if len(sides) != 2 or min(sides) < 1:
        raise UserError(f"--size is {text!r}; write HEIGHT,WIDTH in pixels, as 512,1024")
    return sides[0], sides[1]


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags when the command starts: importing this module leaves absl's own flags alone."""
    flags.DEFINE_string("dataset", None, "Data set, as config.data.name has it.", flag_values=values)
    flags.DEFINE_string("source", None, "Folder of the data set, or its zip or tar.", flag_values=values)
    flags.DEFINE_string("out", None, "Folder for the copy; licences rarely allow to pass it on.", flag_values=values)
    flags.DEFINE_list("splits", [], "Splits to prepare; default: all that have labels.", flag_values=values)
    flags.DEFINE_string("size", None, "HEIGHT,WIDTH to resize to; default: each its own.", flag_values=values)
    flags.DEFINE_string(
        "format", "prepared", "prepared, to train from here; tfds, for other tools.", flag_values=values
    )
    flags.DEFINE_string("bad", "refuse", "Files that cannot be used: refuse or skip.", flag_values=values)
    flags.DEFINE_string("ids", "", "As config.data.ids; it cannot be changed later.", flag_values=values)
    flags.DEFINE_string("pairs", "", "As config.data.pairs.", flag_values=values)
    flags.DEFINE_float("validation_share", 0.2, "As config.data.validation_share.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "As config.seed; draws splits that are not published.", flag_values=values)


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Command line; errors that a user can act on are one line."""
    try:
        if len(arguments) > 1:
            raise UserError(f"{arguments[1]!r} is no flag; write --source=FOLDER --out=FOLDER")
        print(run_preparation(values))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: finished shards stay, the same command goes on after them", file=sys.stderr)
        sys.exit(INTERRUPTED)


def run() -> None:
    """Entry point of the installed command."""
    define_flags(flags.FLAGS)
    app.run(main)


if __name__ == "__main__":
    run()
