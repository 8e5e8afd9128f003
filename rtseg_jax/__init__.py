"""Latency-driven search for real-time segmentation networks, in JAX/Flax."""
