"""Labels pictures, folders of pictures and videos with an exported file or the searched network of a workdir.

    python -m rtseg_jax.predict --model=model.tflite PICTURE|FOLDER|VIDEO ... --output=DIR
    python -m rtseg_jax.predict --workdir=W PICTURE|FOLDER|VIDEO ... --output=DIR

A picture leaves `NAME_labels.png` (a class id per pixel) and `NAME_overlay.png`, a video `NAME_overlay.mp4`.
"""

import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from absl import flags, logging
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import Progress

from rtseg_jax.command_line import one_line_errors, start
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_whole
from rtseg_jax.inference import Segmenter, load
from rtseg_jax.visualization.overlay import blend, comparison_picture
from rtseg_jax.visualization.palette import Palette, colorize

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
USUAL_FPS = 25.0  # of a video that does not say


@dataclasses.dataclass(frozen=True)
class Task:
    """A file to label.

    Attributes:
      source: the picture or video.
      frames: how many pictures it says to hold; 1 where it does not say.
      targets: files to write.
    """

    source: Path
    frames: int
    targets: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class Speed:
    """How long it took, first compilation aside.

    Attributes:
      pictures: pictures and frames that were labelled.
      network_seconds: in the network alone.
      seconds: all in all, with reading and writing.
    """

    pictures: int
    network_seconds: float
    seconds: float

    def __str__(self) -> str:
        network, whole = (self.pictures / max(x, 1e-9) for x in (self.network_seconds, self.seconds))
        return f"{self.pictures} pictures; network {network:.1f} FPS, end to end {whole:.1f} FPS"


class Stopwatch:
    """A function that counts its calls and the seconds spent in them."""

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self.calls, self.seconds = 0, 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        began = time.perf_counter()
        result = self._function(*arguments)
        self.calls, self.seconds = self.calls + 1, self.seconds + time.perf_counter() - began
        return result


def predict(network: Path, inputs: Sequence[Path], output: Path, threads: int | None = None) -> Speed:
    """Labels every input; all of them are looked at before the network is loaded.

    Args:
      network: an exported file or a workdir.
      inputs: pictures, videos and folders, of which every picture is taken.
      output: folder to write to; made where it is missing.
      threads: of LiteRT, see `load`.

    Raises:
      UserError: anything that a user can put right; what was labelled before stays.
    """
    tasks = plan(inputs, output)
    segmenter = load(network, threads)
    segmenter.network(np.zeros((*segmenter.size, 3), np.uint8))  # compiles
    stopwatch = Stopwatch(segmenter.network)
    segmenter = dataclasses.replace(segmenter, network=stopwatch)
    _make_folder(output)
    console = Console(file=sys.stderr)
    began = time.perf_counter()
    with Progress(console=console, disable=not console.is_terminal) as bar:
        advance = partial(bar.advance, bar.add_task("labelling", total=sum(task.frames for task in tasks)))
        for task in tasks:
            (label_video if _is_video(task.source) else label_picture)(segmenter, task, advance)
    return Speed(stopwatch.calls, stopwatch.seconds, time.perf_counter() - began)


def plan(inputs: Sequence[Path], output: Path) -> list[Task]:
    """What to read and what to write; raises `UserError` for an input that is missing or would be overwritten."""
    if not inputs:
        raise UserError("nothing to label; name pictures, folders of pictures or videos")
    sources = list(dict.fromkeys(source for path in inputs for source in find_sources(path)))
    tasks = []
    for source, name in zip(sources, output_names(sources), strict=True):
        endings = ("overlay.mp4",) if _is_video(source) else ("labels.png", "overlay.png")
        frames = max(1, frame_count(source)) if _is_video(source) else 1
        tasks.append(Task(source, frames, tuple(output / f"{name}_{ending}" for ending in endings)))
    read = {source.resolve() for source in sources}
    overwritten = next((target for task in tasks for target in task.targets if target.resolve() in read), None)
    if overwritten:
        raise UserError(f"{overwritten} is an input and would be overwritten; name another --output")
    return tasks


def find_sources(path: Path) -> list[Path]:
    """A file itself, or every picture of a folder by name; raises `UserError` where there is none."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path]
    found = [x for x in path.iterdir() if x.suffix.lower() in PICTURES and x.is_file() and not x.name.startswith(".")]
    if not found:
        raise UserError(f"{path}: no pictures in this folder; their names end in {', '.join(PICTURES)}")
    return sorted(found)


def output_names(sources: Sequence[Path]) -> list[str]:
    """A name for each: that of the file, with its folder before it or a number after it where that one is taken."""
    names: dict[str, str] = {}  # by what a file system that ignores case makes of them
    for source in sources:
        numbered = (f"{source.stem}_{number}" for number in itertools.count(2))
        choices = itertools.chain((source.stem, f"{source.absolute().parent.name}_{source.stem}"), numbered)
        name = next(choice for choice in choices if choice.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


def label_picture(segmenter: Segmenter, task: Task, advance: Callable[[], None]) -> None:
    """Writes labels and overlay of a picture."""
    image = read_picture(task.source)
    labels = segmenter(image)
    overlay = comparison_picture(image, None, labels, segmenter.labels, segmenter.palette)
    for target, picture in zip(task.targets, (label_picture_of(labels, segmenter.palette), overlay), strict=True):
        write_whole(target, partial(picture.save, format="PNG"))
    advance()


def read_picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as RGB, turned as the camera was; raises `UserError` naming it where it cannot be read."""
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise UserError(f"{path}: {picture.mode} is not 8 bits a colour; convert the picture first")
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a picture that can be read, and no video ({', '.join(VIDEOS)})") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: broken PNG chunks
        raise UserError(f"{path} is truncated or damaged ({error}); replace the file") from error


def label_picture_of(labels: UInt8[np.ndarray, "h w"], palette: Palette) -> Image.Image:
    """Labels as a picture of mode P: its values are class ids, its colours the palette's."""
    colours = colorize(np.arange(len(palette), dtype=np.uint8)[None], palette)
    picture = Image.fromarray(labels)
    picture.putpalette(np.pad(colours[0], ((0, 256 - len(palette)), (0, 0))).tobytes())  # 256: Pillow keeps 8 bits
    return picture


def label_video(segmenter: Segmenter, task: Task, advance: Callable[[], None]) -> None:
    """Writes the overlay of every frame, as one video that appears when it is whole."""
    (target,) = task.targets
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unfinished-") as folder:
        unfinished = Path(folder) / target.name
        written = _write_video(unfinished, _overlays(segmenter, task.source, advance), _frame_rate(task.source))
        if not written:
            raise UserError(f"{task.source}: no frame of this video can be decoded")
        if frame_count(unfinished) != written:
            raise UserError(f"{target} could not be written whole; is the disk full?")
        os.replace(unfinished, target)
    if written < task.frames:
        logging.warning("%s: %d of %d frames could be read", task.source, written, task.frames)


def frame_count(path: Path) -> int:
    """Frames that a video says to hold, not positive where it does not say; raises `UserError` if it is no video."""
    capture = _open_video(path)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count


def _frame_rate(path: Path) -> float:
    capture = _open_video(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if rate > 0 else USUAL_FPS


def _open_video(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise UserError(f"{path}: this video cannot be opened; it is damaged, or OpenCV lacks its codec")
    return capture


def _overlays(segmenter: Segmenter, source: Path, advance: Callable[[], None]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    capture = _open_video(source)
    while (frame := capture.read()[1]) is not None:
        image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        yield blend(image, segmenter(image), segmenter.palette)
        advance()
    capture.release()


def _write_video(path: Path, pictures: Iterator[UInt8[np.ndarray, "h w 3"]], rate: float) -> int:
    """Writes pictures of one size as MPEG-4 and returns their number; odd sides lose a pixel, as the format asks."""
    writer, number = cv2.VideoWriter(), 0
    for number, picture in enumerate(pictures, start=1):
        if number == 1:
            writer.open(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, picture.shape[1::-1])
        if not writer.isOpened():
            raise UserError(f"this OpenCV cannot write {path.suffix}; install the opencv of requirements.txt")
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return number


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: this folder cannot be made ({error.strerror}); name another --output") from error


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags when the command starts: importing this module leaves absl's own flags alone."""
    flags.DEFINE_string("model", None, "Exported .tflite file.", flag_values=values)
    flags.DEFINE_string("workdir", None, "Workdir of a run whose fine-tuning is finished.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder for label maps and overlays.", flag_values=values)
    flags.DEFINE_integer("threads", None, "Threads of LiteRT; default: one per processor, up to 4.", flag_values=values)


def silence_libraries() -> None:
    """What they report of a file that cannot be read, or of every file, is said here in one line."""
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read at the first video; OpenCV's own is a function
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


@one_line_errors
def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Command line; errors that a user can act on are one line."""
    silence_libraries()
    if bool(values.model) == bool(values.workdir):
        raise UserError("name either a file with --model or a run with --workdir")
    if not values.output:
        raise UserError("--output is missing: name the folder to write to")
    inputs = [Path(argument) for argument in arguments[1:]]
    print(predict(Path(values.model or values.workdir), inputs, Path(values.output), values.threads))


def run() -> None:
    """Entry point of the installed command."""
    define_flags(flags.FLAGS)
    start(main)


if __name__ == "__main__":
    run()
