"""Models for the demo that need no training."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from tiny_tflite import NAMES, relu_model, small_network

from rtseg_jax import __version__
from rtseg_jax.export.metadata import Metadata, attach_metadata
from rtseg_jax.export.spec import ExportSpec

SIZE = (48, 80)
COLOURS = ((200, 30, 30), (30, 160, 60), (30, 60, 200), (240, 200, 40), (120, 120, 120))
FIVE = ("rail", "grass", "water", "sand", "stone")


def write_model(path, content, names, head="logits"):
    info = (names, COLOURS[: len(names)], (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "0" * 12)
    path.write_bytes(attach_metadata(content, Metadata(*info, ExportSpec(SIZE, head), __version__)))
    return path


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """Two exported files: logits of 5 classes at half size, and logits of 3 classes that are the picture itself."""
    folder = tmp_path_factory.mktemp("models")
    small = write_model(folder / "small.tflite", small_network(SIZE, len(FIVE), seed=3), FIVE, "lowres_logits")
    return small, write_model(folder / "colours.tflite", relu_model(SIZE), NAMES)
