"""Latency-driven search for real-time segmentation networks, in JAX/Flax."""

__version__ = "0.1.0"
