"""BDD100K semantic segmentation; as folders or as the two zips, in both forms that were published.

    bdd100k/images/10k/{train,val}/NAME.jpg   bdd100k/labels/sem_seg/masks/{train,val}/NAME.png
    seg/images/{train,val}/NAME.jpg           seg/labels/{train,val}/NAME_train_id.png       (2018)

Masks are Cityscapes' train ids. The published set has pictures without masks and masks without pictures: they are
refused by name, or left out with `data.bad=skip`.
"""

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo, DataSpec, Source
from rtseg_jax.data.findings import Finding
from rtseg_jax.data.layout import find_layout
from rtseg_jax.data.pair_source import PairSource
from rtseg_jax.data.pairing import pair_up
from rtseg_jax.data.storage import Files
from rtseg_jax.errors import UserError

INFO = shipped_info("bdd100k", licence="education, research, non-profit; with its notice", rule="bdd100k")
HOLDS = (
    "the folder that holds bdd100k/images/10k/ and bdd100k/labels/sem_seg/masks/, or bdd100k_images_10k.zip and "
    "bdd100k_sem_seg_labels_trainval.zip"
)
SPLITS = ("train", "validation")
_FOLDERS = {"train": "train", "validation": "val"}
_ARCHIVES = ("bdd100k_images_10k*.zip", "10k_images*.zip", "bdd100k_sem_seg*.zip", "bdd100k_seg*.zip")
_MASKS, _MASKS_2018 = "labels/sem_seg/masks", "seg/labels"


def read(spec: DataSpec, info: DatasetInfo, split: str) -> tuple[Source, tuple[Finding, ...]]:
    """One split, by name."""
    assert spec.data_dir is not None
    files, images, masks, ending = _open(spec.data_dir)
    images, masks = f"{images}/{_FOLDERS[split]}/", f"{masks}/{_FOLDERS[split]}/"
    found = pair_up(
        files,
        files.names(images),
        files.names(masks),
        lambda name: _key(name, images, ".jpg"),
        lambda name: _key(name, masks, ending),
        (f"{images}NAME.jpg", f"{masks}NAME{ending}"),
    ).checked(spec.bad)
    return PairSource(files, found.pairs, info.labels), found.findings


def _open(data_dir: str) -> tuple[Files, str, str, str]:
    """Files, folder of pictures, folder of masks, ending of masks."""
    places = ("", "bdd100k/")
    try:
        files, place = find_layout(data_dir, _MASKS, places, _ARCHIVES, HOLDS)
        return files, f"{place}images/10k", place + _MASKS, ".png"
    except UserError as error:
        try:
            files, place = find_layout(data_dir, _MASKS_2018, places, _ARCHIVES, HOLDS)
        except UserError:
            raise error from None
        return files, f"{place}seg/images", place + _MASKS_2018, "_train_id.png"


def _key(name: str, folder: str, ending: str) -> str | None:
    return name.removeprefix(folder).removesuffix(ending) if name.endswith(ending) else None
