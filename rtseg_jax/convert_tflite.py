"""Exports the searched network of a workdir as float32 TFLite and compares it with JAX.

python -m rtseg_jax.convert_tflite --workdir=W --output=model.tflite
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from rtseg_jax.architecture import ArchSpec, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.files import write_bytes, write_json
from rtseg_jax.training.checkpoints import load_newest
from rtseg_jax.training.step import IMAGE_MEAN, IMAGE_STD
from rtseg_jax.training.workdir import Workdir

_WORKDIR = flags.DEFINE_string("workdir", None, "Workdir of a run whose searched network was fine-tuned.")
_OUTPUT = flags.DEFINE_string("output", None, "The file to write; default: model.tflite in the workdir.")
_PICTURES = flags.DEFINE_string("pictures", None, "uint8 pictures (.npy, n h w 3) on which to compare with JAX.")


def convert_workdir(workdir: Workdir, output: Path, pictures: np.ndarray | None) -> dict[str, Any]:
    """Writes the model, which takes pictures of values 0..255 as float32; returns its card.

    Raises:
      UserError: no architecture or no fine-tuned weights in the workdir.
    """
    from rtseg_jax.export.parity import compare  # noqa: PLC0415 (TensorFlow)
    from rtseg_jax.export.tflite import convert_network, network_function  # noqa: PLC0415
    from rtseg_jax.models import SegmentationNetwork  # noqa: PLC0415
    from rtseg_jax.training.run import zero_variables  # noqa: PLC0415

    arch = ArchSpec.load(workdir.architecture)
    network = declare_spec(arch)
    like = zero_variables(SegmentationNetwork(network))
    variables = load_newest(workdir.checkpoints("finetune_variables"), like)
    size = tuple(json.loads((workdir.root / "config.json").read_text())["data"]["eval_size"])
    model = convert_network(network, variables, size, (IMAGE_MEAN, IMAGE_STD))
    write_bytes(output, model)
    card = {"file": output.name, "bytes": len(model), "size": size, "architecture": arch.digest}
    if pictures is not None:
        function = network_function(network, variables, (IMAGE_MEAN, IMAGE_STD), lowering="native")
        card |= {"parity": dataclasses.asdict(compare(model, function, pictures.astype(np.float32)))}
    write_json(output.with_suffix(".json"), card)
    return card


def main(_: list[str]) -> None:
    """Command line."""
    workdir = Workdir(_WORKDIR.value or ".")
    output = Path(_OUTPUT.value) if _OUTPUT.value else workdir.model
    pictures = np.load(_PICTURES.value) if _PICTURES.value else None
    try:
        card = convert_workdir(workdir, output, pictures)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(card, indent=2))


def run() -> None:
    """Entry point of the installed command."""
    flags.mark_flag_as_required("workdir")
    app.run(main)


if __name__ == "__main__":
    run()
