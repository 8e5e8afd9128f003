"""Latency: block features, measuring backends, and a predictor that is differentiable in widths and paths."""

from rtseg_jax.latency.backends import Timing
from rtseg_jax.latency.predictor import LatencyModel
from rtseg_jax.latency.pricing import NetworkLatency, arch_latency, network_latency
from rtseg_jax.latency.spec import LatencySpec

__all__ = ["LatencyModel", "LatencySpec", "NetworkLatency", "Timing", "arch_latency", "network_latency"]
