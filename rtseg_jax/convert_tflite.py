"""Exports the network of a workdir, and proves that the file is the same.

examples:
    rtseg_jax convert --workdir=W --output=model.tflite --quantize=fp16 --head=class_map
    rtseg_jax convert --workdir=W --output=model.stablehlo --format=stablehlo

The form is TFLite unless told. Beside the model it writes a parity card, as JSON and Markdown. The exit status is 1
where the card names a failure.
"""

import dataclasses
import sys
import warnings
from functools import partial

from absl import flags, logging

from rtseg_jax.command_line import Command, parse_size
from rtseg_jax.config import nearest_sampled_alike
from rtseg_jax.data import Dataset, build_dataset
from rtseg_jax.deployment.card import MOST_LOST, Card
from rtseg_jax.deployment.examination import Examination
from rtseg_jax.deployment.trained import NETWORKS, Trained, load_trained
from rtseg_jax.errors import UserError
from rtseg_jax.export.child import BEST
from rtseg_jax.export.formats import FILE_NAMES, FORMATS, TFLITE, check_request
from rtseg_jax.export.spec import CONVERTERS, HEADS, INPUTS, JAX2TF, QUANTIZATIONS, ExportSpec
from rtseg_jax.files import Place, check_place, place
from rtseg_jax.training.workdir import Workdir


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags."""
    text, number = partial(flags.DEFINE_string, flag_values=values), partial(flags.DEFINE_integer, flag_values=values)
    choice = partial(flags.DEFINE_enum, flag_values=values)
    text("workdir", None, "DIR: workdir of a run whose searched network was fine-tuned.")
    text("output", None, "FILE: what to write; default: a name by the format, in the workdir.")
    choice("network", BEST, NETWORKS, "Which network of the run; best: the one that it hands over.")
    choice("format", TFLITE, FORMATS, "Form of the export; saved_model is a folder.")
    text("size", None, "HEIGHTxWIDTH: size of the pictures; default: the run's evaluation size.")
    choice("head", "logits", HEADS, "What comes out.")
    choice("input", "float", INPUTS, "Type of the pictures; values 0..255, normalized in the file.")
    number("batch", 1, "Pictures at once.", lower_bound=1)
    choice("quantize", "none", QUANTIZATIONS, "Numbers of the file.")
    choice("converter", JAX2TF, CONVERTERS, "Who writes a TFLite file; litert: without TensorFlow, float32 only.")
    text("data_dir", None, "DIR: the run's pictures, where they lie elsewhere now.")
    number("pictures", -1, "Validation pictures to score; -1: all, 0: none, and no data needed.", lower_bound=-1)
    number("calibration", 100, "Training pictures to calibrate integers on.", lower_bound=1)
    lost = ", ".join(f"{points:g} for {numbers}" for numbers, points in MOST_LOST.items())
    flags.DEFINE_float(
        "most_lost", None, f"Points of mIoU that may be lost; default: {lost}.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_bool("require_gpu", False, "Fail where no GPU accelerator could be asked.", flag_values=values)


def main(_: list[str], values: flags.FlagValues) -> int:
    """Exports, and prints the card."""
    logging.set_verbosity(logging.ERROR)
    warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")  # they are calibrated
    warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")  # the calibration's own
    workdir = Workdir(values.workdir)
    output = place(values.output) if values.output else workdir.root / FILE_NAMES[values.format]
    card = _convert(workdir, output, values)
    print(card.to_markdown())
    if card.failures:
        print(f"error: {output}: " + "; ".join(card.failures), file=sys.stderr)
    return 1 if card.failures else 0


def _convert(workdir: Workdir, output: Place, values: flags.FlagValues) -> Card:
    check_request(values.format, output, values.quantize, converter=values.converter, require_gpu=values.require_gpu)
    check_place(output / "saved_model.pb" if values.format == "saved_model" else output, "--output")
    trained = load_trained(workdir, values.network)
    from rtseg_jax.deployment.converting import convert_trained, export_trained

    size = _size(trained, values.size)
    spec = ExportSpec(size, values.head, values.input, values.batch, values.quantize, values.converter)
    needs_data = values.pictures != 0 or spec.integers
    dataset = _dataset(trained, values.data_dir) if needs_data else None
    scored = None if values.pictures < 0 else values.pictures
    examination = Examination(trained, dataset, spec, scored)
    most_lost = MOST_LOST[spec.quantize] if values.most_lost is None else values.most_lost
    if values.format != TFLITE:
        return export_trained(examination, values.format, output, most_lost=most_lost)
    return convert_trained(
        examination,
        output,
        most_lost=most_lost,
        calibration=values.calibration,
        require_gpu=values.require_gpu,
    )


def _size(trained: Trained, text: str | None) -> tuple[int, int]:
    """The size asked for; raises `UserError` where the trained network would not work at it."""
    data = trained.spec.data
    if text is None:
        return data.eval_size
    height, width = parse_size("size", text)
    asked = zip((height, width), data.train_size, strict=True)
    fitting = tuple(nearest_sampled_alike(side, trained) for side, trained in asked)
    if fitting != (height, width):
        raise UserError(
            f"--size is {height}x{width}: stride-2 layers sample it differently from the {data.train_size[0]}x"
            f"{data.train_size[1]} of training, the network would not work; use {fitting[0]}x{fitting[1]}"
        )
    return height, width


def _dataset(trained: Trained, data_dir: str | None) -> Dataset:
    data = trained.spec.data
    try:
        return build_dataset(dataclasses.replace(data, data_dir=data_dir or data.data_dir), trained.info)
    except UserError as error:
        raise UserError(f"{error}; name the pictures' place with --data_dir, or do without by --pictures=0") from error


COMMAND = Command(
    __doc__ or "",
    define_flags,
    main,
    needed={"workdir": "name the workdir of a run whose searched network was fine-tuned"},
)


def run() -> None:
    """Entry point of the module and of the installed program."""
    COMMAND.start()


if __name__ == "__main__":
    run()
