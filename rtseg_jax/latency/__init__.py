"""Latency: block features, measuring backends, and a predictor that is differentiable in widths and paths."""

from rtseg_jax.latency.backend import Timing, noise_warning
from rtseg_jax.latency.child import measure_networks_in_child, run_sweep_in_child
from rtseg_jax.latency.devices import unit_of_device
from rtseg_jax.latency.predictor import LatencyModel, check_network
from rtseg_jax.latency.pricing import NetworkLatency, Prediction, arch_latency, network_latency, predict_arch
from rtseg_jax.latency.spec import LatencySpec

__all__ = [
    "LatencyModel",
    "LatencySpec",
    "NetworkLatency",
    "Prediction",
    "Timing",
    "arch_latency",
    "check_network",
    "measure_networks_in_child",
    "network_latency",
    "noise_warning",
    "predict_arch",
    "run_sweep_in_child",
    "unit_of_device",
]
