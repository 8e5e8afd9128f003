"""Look at a whole source before hours are spent on it."""

import sys

from rich.console import Console
from rich.progress import track

from rtseg_jax.data.dataset import DatasetInfo, Source
from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE


def check_source(source: Source, info: DatasetInfo, description: str = "checking pictures") -> None:
    """Decode every example once, with a progress bar on a terminal; the first bad one raises a `UserError`."""
    console = Console(file=sys.stderr)
    for index in track(range(len(source)), description, console=console, disable=not console.is_terminal):
        _check_example(source, index, info)


def _check_example(source: Source, index: int, info: DatasetInfo) -> None:
    example = source[index]
    image, label = example["image"], example["label"]
    if image.shape[:2] != label.shape:
        raise UserError(f"{info.name}, example {index}: picture {image.shape[:2]} and label {label.shape} differ")
    wrong = label[(label >= info.num_classes) & (label != IGNORE)]
    if wrong.size:
        raise UserError(f"{info.name}, example {index}: id {wrong[0]} is outside its {info.num_classes} classes")
