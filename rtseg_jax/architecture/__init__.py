"""The declaration of a network as plain data, and everything that can be said of it without weights."""

from rtseg_jax.architecture.arch_spec import MIXED, PATHS, ArchSpec, live_groups
from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.declare import declare, declare_spec
from rtseg_jax.architecture.graph import Block, Group, Mixed, Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec

__all__ = [
    "MIXED",
    "PATHS",
    "ArchSpec",
    "Block",
    "Builder",
    "Group",
    "Mixed",
    "Network",
    "NetworkSpec",
    "Tensor",
    "declare",
    "declare_spec",
    "live_groups",
]
