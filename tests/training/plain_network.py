"""Whole runs whose steps compile in seconds: every weight learns, and the network computes next to nothing.

Everything else is as it is: data, optimizers, decisions, slicing, checkpoints, files.

Usage: python plain_network.py ARGUMENTS_OF_MAIN. With PLAIN_LOG=FILE in the environment latencies and the export are
made up as well, no plots are drawn, and the file gets a line with the process's number for each sweep, measurement,
export and file. With
PLAIN_BUCKET=FOLDER there is a bucket, gs://bucket, whose objects are put into the folder at the end.
"""

import contextlib
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from fake_bucket import fake_bucket

from rtseg_jax import files, main
from rtseg_jax.latency import Timing
from rtseg_jax.models import SegmentationNetwork
from rtseg_jax.training import outcome, run
from rtseg_jax.visualization import report


def apply(
    self, variables, images, architecture=None, *, train=False, auxiliary=False, mutable=False, rngs=None, **others
):
    """In the place of `SegmentationNetwork.apply`: logits of single pixels, scaled by all weights, masks and paths."""
    weights = jax.tree.leaves(variables["params"])
    scale = 1 + sum(jnp.sin(weight).mean() for weight in weights) / len(weights)
    if architecture is not None:
        said = (*architecture.masks.values(), *architecture.paths.values())
        scale += sum((part * jnp.cos(jnp.arange(len(part)))).mean() for part in said) / len(said)
    classes = self.network.blocks[-1].output.channels
    logits = scale * jnp.einsum("bhwc,ck->bhwk", images, jnp.cos(jnp.arange(3.0 * classes)).reshape(3, classes))
    outputs = {"logits": logits, "auxiliary": (0.5 * logits,) if auxiliary else ()}
    if not mutable:
        return outputs
    return outputs, {"batch_stats": jax.tree.map(lambda x: 0.9 * x + 0.1 * images.mean(), variables["batch_stats"])}


def note(what):
    """Adds a line to the log of all processes of a run."""
    with Path(os.environ["PLAIN_LOG"]).open("a") as log:
        log.write(f"{jax.process_index()} {what}\n")


def sweep(network, spec, out):
    """A sweep that finds what was recorded."""
    note("sweep")
    files.write_text(out / "predictor.json", Path(os.environ["PLAIN_PREDICTOR"]).read_text())


def measure(archs, size, spec):
    """A phone that takes a millisecond for everything."""
    note("measurement")
    return [Timing(1.0, 1, 0.0)] * len(archs)


CARD = {
    "file": "model.tflite",
    "size": 4,
    "architecture": "made up",
    "export": {"size": [32, 64], "head": "logits", "input": "float", "quantize": "none"},
    "cpu": {"max_difference": 0.0, "pixel_agreement": 1.0, "pictures": 1},
    "gpu": None,
    "gpu_verdict": None,
    "latency_ms": None,
    "miou": None,
    "failures": [],
}


def convert(workdir, output, converter, **settings):
    """An export that is empty."""
    note("export")
    files.write_bytes(output, b"TFL3")
    return CARD


def noting(write):
    """`files.write_whole`, which notes what is written."""

    def write_whole(path, fill):
        note(json.dumps(str(path)))
        write(path, fill)

    return write_whole


def keep(objects, folder):
    """Puts the objects of a bucket into a folder."""
    for name, content in objects.items():
        path = folder / name.removeprefix("/bucket/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())


if __name__ == "__main__":
    SegmentationNetwork.apply = apply
    if "PLAIN_LOG" in os.environ:
        run.run_sweep_in_child, outcome.measure_networks_in_child = sweep, measure
        outcome.convert_in_child = convert
        report._draw = lambda folder, story: []
        files.write_whole = noting(files.write_whole)
    with contextlib.ExitStack() as held:
        if "PLAIN_BUCKET" in os.environ:
            objects = held.enter_context(fake_bucket(pytest.MonkeyPatch()))
            held.callback(keep, objects, Path(os.environ["PLAIN_BUCKET"]))
        main.run()
