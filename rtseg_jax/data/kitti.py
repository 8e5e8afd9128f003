"""KITTI's semantic segmentation of 2015; as a folder or as data_semantics.zip.

    training/image_2/NAME.png   training/semantic/NAME.png

Labels are Cityscapes' label ids. Where a copy holds instances only, label ids are made of them: id · 256 + number. The
200 pictures of testing/ have no labels and none of the others is meant for validation, so that `data.validation_share`
of them is held out, the same ones for the same seed.
"""

import sys

import numpy as np
from jaxtyping import Integer

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.findings import Finding
from rtseg_jax.data.layout import find_layout
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import pair_up
from rtseg_jax.data.splitting import held_out

INFO = shipped_info("kitti", classes="cityscapes", licence="CC BY-NC-SA 3.0", rule="cityscapes")
HOLDS = "the folder that holds training/image_2/ and training/semantic/, or data_semantics.zip"
SPLITS = ("train", "validation")
_PLACES = ("", "data_semantics/")


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """The pictures of training/ that are held out, or the others, by number."""
    assert spec.data_dir is not None
    files, place = find_layout(spec.data_dir, "training/image_2", _PLACES, ("data_semantics*.zip",), HOLDS)
    images, labels, instances = (f"{place}training/{kind}/" for kind in ("image_2", "semantic", "instance"))
    transform = None
    if not files.names(labels) and files.names(instances):
        labels, transform = instances, label_ids
    found = pair_up(
        files,
        files.names(images),
        files.names(labels),
        lambda name: _key(name, images),
        lambda name: _key(name, labels),
        (f"{images}NAME.png", f"{labels}NAME.png"),
    ).checked(spec.bad)
    scored = held_out([pair.name for pair in found.pairs], spec.validation_share, spec.seed, "pictures")
    if split == "validation":
        print(
            f"kitti has no validation split: {len(scored)} of {len(found.pairs)} pictures are held out, seed "
            f"{spec.seed}",
            file=sys.stderr,
        )
    pairs = tuple(pair for pair in found.pairs if (pair.name in scored) == (split == "validation"))
    alone = found.findings if split == "train" else ()
    return PairSource(files, pairs, info.labels, transform), alone


def label_ids(instances: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
    """Label ids of KITTI's instance ids."""
    return instances.astype(np.int32) // 256


def _key(name: str, folder: str) -> str | None:
    return name.removeprefix(folder).removesuffix(".png") if name.endswith(".png") else None
