"""Latency-driven search for real-time segmentation networks, in JAX/Flax."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtseg_jax.inference import Segmenter, load

# When XLA loads a cached compile on a CPU it reports two tuning flags as missing processor features, at length, each
# time. Real errors are exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
__all__ = ["Segmenter", "load"]


def __getattr__(name: str) -> Any:
    """`load` and `Segmenter`, imported at first use: commands that need no JAX stay quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rtseg_jax import inference

    return getattr(inference, name)
