"""The networks, a page each. A page registers its network; nothing else has to be told of it."""

import importlib
import pkgutil

from rtseg_jax.zoo.bisenetv2 import BiSeNetV2
from rtseg_jax.zoo.rtseg import RTSeg

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["BiSeNetV2", "RTSeg"]
