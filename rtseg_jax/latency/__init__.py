"""Latency: block features, measuring backends, and a predictor that is differentiable in widths and paths."""

from rtseg_jax.latency.backends import Timing, unit_of_device
from rtseg_jax.latency.child import measure_networks_in_child, run_sweep_in_child
from rtseg_jax.latency.predictor import LatencyModel
from rtseg_jax.latency.pricing import NetworkLatency, arch_latency, network_latency
from rtseg_jax.latency.spec import LatencySpec

__all__ = [
    "LatencyModel",
    "LatencySpec",
    "NetworkLatency",
    "Timing",
    "arch_latency",
    "measure_networks_in_child",
    "network_latency",
    "run_sweep_in_child",
    "unit_of_device",
]
