"""The language in which networks are declared as plain data, and everything that can be said of one without weights."""

from rtseg_jax.architecture.arch_spec import ArchSpec, live_groups
from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.decided import declare, declare_spec
from rtseg_jax.architecture.graph import MIXED, SKIP, Block, Group, Mixed, Network, Tensor
from rtseg_jax.architecture.network_spec import NetworkSpec, network_class, network_classes

__all__ = [
    "MIXED",
    "SKIP",
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
    "network_class",
    "network_classes",
]
