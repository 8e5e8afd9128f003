"""A device that exists as a formula, and the sweep that measures it."""

import numpy as np

from rtseg_jax.architecture import Block, Network, declare_spec, graph, operators
from rtseg_jax.architecture.counts import op_macs, pixels
from rtseg_jax.latency.fitting import Measured
from rtseg_jax.latency.sampling import sample_blocks, sample_networks
from rtseg_jax.zoo import RTSeg

SPEC = RTSeg(num_classes=5, width=0.5)
SIZE = (64, 128)
CARD = {
    "device": "formula",
    "backend": "none",
    "runtime": "none",
    "precision": "float32",
    "threads": 1,
    "warmup": 0,
    "runs": 1,
    "statistic": "exact",
    "clock": "none",
    "graphs": "none",
    "date": "none",
    "noise": 0.0,
    "image_size": [64, 128],
}


def op_ms(op: graph.Op, size: tuple[int, int] = SIZE) -> float:
    """A roofline: arithmetic or memory, whichever takes longer, and a start-up time."""
    if isinstance(op, operators.Dropout):
        return 0.0
    slow = isinstance(op, operators.Conv) and op.depthwise
    arithmetic = op_macs(op, size) / (2e6 if slow else 4e7)
    moved = sum(pixels(tensor, size) * tensor.channels for tensor in (*op.inputs, op.output)) / 5e6
    return max(arithmetic, moved) + 0.001


def block_ms(block: Block, size: tuple[int, int] = SIZE) -> float:
    """A block measured on its own."""
    return 0.002 + sum(op_ms(op, size) for op in block.ops)


def network_ms(network: Network) -> float:
    """A whole network: no time to start blocks, but memory is slower between them."""
    return 0.05 + sum(block_ms(block) * 1.05 - 0.002 for block in network.plain_blocks)


def measure(num_blocks: int = 60, num_networks: int = 12, noise: float = 0.01, seed: int = 0) -> Measured:
    """A sweep over the formula with multiplicative noise."""
    subjects = sample_blocks(SPEC, SIZE, num_blocks, seed)
    blocks = [subject.declare() for subject in subjects]
    networks = [declare_spec(arch) for arch in sample_networks(SPEC, num_networks, seed)]
    generator = np.random.default_rng(seed)
    times = [block_ms(block, subject.image_size) for block, subject in zip(blocks, subjects, strict=True)]  # type: ignore
    return Measured(
        blocks=blocks,  # type: ignore[arg-type]
        block_sizes=[subject.image_size for subject in subjects],
        block_ms=[ms * np.exp(noise * generator.standard_normal()) for ms in times],
        networks=networks,
        network_sizes=[SIZE] * num_networks,
        network_ms=[network_ms(network) * np.exp(noise * generator.standard_normal()) for network in networks],
    )
