"""Latency-driven search for real-time segmentation networks, in JAX/Flax."""

import os

# When XLA loads a cached compile on a CPU it reports two tuning flags as missing processor features, at length, each
# time. Real errors are exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
