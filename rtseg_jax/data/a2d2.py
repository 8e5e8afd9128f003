"""A2D2's semantic segmentation: RGB labels of 38 classes; as a folder or as the published tar.

    camera_lidar_semantic/SCENE/camera/CAMERA/TIME_camera_CAMERA_NUMBER.png
    camera_lidar_semantic/SCENE/label/CAMERA/TIME_label_CAMERA_NUMBER.png

There is no official split, and neighbouring frames are nearly the same picture: whole scenes are held out for
validation, `data.validation_share` of them, the same ones for the same seed.
"""

import sys
from pathlib import Path

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.findings import Finding
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import pair_up
from rtseg_jax.data.splitting import held_out
from rtseg_jax.data.storage import Archives, Files, open_files

INFO = shipped_info("a2d2", licence="CC BY-ND 4.0: no converted copies")
HOLDS = "the folder camera_lidar_semantic/ with its scenes, or camera_lidar_semantic.tar"
SPLITS = ("train", "validation")


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """The frames of the scenes that are held out, or of the others, by scene and name."""
    assert spec.data_dir is not None
    files = _open(spec.data_dir)
    names = files.names()
    found = pair_up(
        files,
        names,
        names,
        lambda name: _key(name, "camera"),
        lambda name: _key(name, "label"),
        ("SCENE/camera/CAMERA/TIME_camera_CAMERA_NUMBER.png", "SCENE/label/CAMERA/TIME_label_CAMERA_NUMBER.png"),
    ).checked(spec.bad)
    scenes = sorted({_scene(pair.name) for pair in found.pairs})
    scored = held_out(scenes, spec.validation_share, spec.seed, "scenes")
    if split == "validation":
        print(
            f"a2d2 has no official split: {len(scored)} of {len(scenes)} scenes are held out, seed {spec.seed}: "
            f"{', '.join(sorted(scored))}",
            file=sys.stderr,
        )
    pairs = tuple(pair for pair in found.pairs if (_scene(pair.name) in scored) == (split == "validation"))
    return PairSource(files, pairs, info.labels), found.findings if split == "train" else ()


def _open(data_dir: str) -> Files:
    path = Path(data_dir).expanduser()
    packed = sorted(path.glob("camera_lidar_semantic*.tar")) if path.is_dir() else []
    unpacked = packed and any(path.glob("**/label/"))
    return Archives(packed) if packed and not unpacked else open_files(path)


def _key(name: str, kind: str) -> str | None:
    """SCENE/CAMERA/TIME_CAMERA_NUMBER."""
    parts = name.split("/")
    if len(parts) < 4 or parts[-3] != kind or not name.endswith(".png"):
        return None
    return f"{parts[-4]}/{parts[-2]}/{parts[-1].removesuffix('.png').replace(f'_{kind}_', '_', 1)}"


def _scene(key: str) -> str:
    return key.split("/", maxsplit=1)[0]
