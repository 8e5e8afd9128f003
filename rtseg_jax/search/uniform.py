"""The baseline that every search has to beat: the supernet's own shape, scaled by one factor."""

import numpy as np

from rtseg_jax.architecture import MIXED, ArchSpec, Network, NetworkSpec
from rtseg_jax.search.decide import LatencyOf, full_widths, make_spec


def supernet_spec(spec: NetworkSpec, network: Network) -> ArchSpec:
    """The supernet as an architecture: everything kept, all operators averaged."""
    return make_spec(spec, network, full_widths(network), mixed_paths(network))


def mixed_paths(network: Network) -> dict[str, str]:
    """Every operator in every mixed block."""
    return {mixed.name: MIXED for mixed in network.mixed_blocks}


def uniform_spec(spec: NetworkSpec, network: Network, latency_of: LatencyOf, target_ms: float) -> ArchSpec:
    """The largest uniform scaling of the supernet within the target, to a thousandth of the factor."""
    paths = mixed_paths(network)

    def widths(factor: float) -> dict[str, int]:
        return {group.name: group.snap(round(factor * group.size)) for group in network.searched_groups}

    factors = np.linspace(0.0, 1.0, 1001)
    low, high = 0, len(factors) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if latency_of(widths(factors[middle]), paths) <= target_ms:
            low = middle
        else:
            high = middle - 1
    return make_spec(spec, network, widths(factors[low]), paths)
