"""From a `DataSpec` to a data set."""

import difflib
from collections.abc import Callable

from rtseg_jax.data.caching import CachedSource
from rtseg_jax.data.camvid import build_camvid
from rtseg_jax.data.catalogue import KNOWN, SYNTHETIC_STREETS
from rtseg_jax.data.dataset import Dataset, DatasetInfo, DataSpec
from rtseg_jax.data.synthetic import StreetSource
from rtseg_jax.errors import UserError


def _build_streets(spec: DataSpec) -> Dataset:
    info, most = SYNTHETIC_STREETS, SYNTHETIC_STREETS.num_classes
    count = most if spec.num_classes is None else spec.num_classes
    if not 2 <= count <= most:
        raise UserError(f"synthetic_streets has 2 to {most} classes, not num_classes={count}")
    return _drawn(spec, DatasetInfo(info.name, info.class_names[:count], info.palette[:count]))


def _drawn(spec: DataSpec, info: DatasetInfo) -> Dataset:
    train = StreetSource(spec.num_train, spec.drawn_size, spec.seed, "train", info.num_classes)
    validation = StreetSource(spec.num_validation, spec.drawn_size, spec.seed, "validation", info.num_classes)
    return Dataset(info, CachedSource(train), CachedSource(validation))


def _not_built(spec: DataSpec) -> Dataset:
    raise UserError(
        f"the builder for {spec.name} is not part of this version; set stand_in=True to try the config on drawn "
        f"pictures, or use one of {', '.join(_BUILT)}"
    )


_BUILT: dict[str, Callable[[DataSpec], Dataset]] = {"synthetic_streets": _build_streets, "camvid": build_camvid}
_BUILDERS = {name: _BUILT.get(name, _not_built) for name in KNOWN}


def dataset_info(name: str) -> DatasetInfo:
    """Classes and colours of a known data set; an unknown name raises a `UserError` that names the nearest."""
    if name in KNOWN:
        return KNOWN[name]
    nearest = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.0)[0]
    raise UserError(f"unknown data set {name!r}; did you mean {nearest!r}? Known: {', '.join(KNOWN)}")


def build_dataset(spec: DataSpec) -> Dataset:
    """The data set that `spec` names. Everything that can be checked without decoding is checked here."""
    info = dataset_info(spec.name)
    if spec.stand_in:
        return _drawn(spec, info)
    return _BUILDERS[spec.name](spec)
