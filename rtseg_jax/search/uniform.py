"""The baseline that every search has to beat: the supernet's own shape, scaled by one factor.

Its strongest form in `benchmarks.study` has a convolution in every mixed block and a quarter of the head; both of its
cheaper decisions, paths and head, are hand rules that no search made.
"""

from collections.abc import Callable, Mapping

import numpy as np

from rtseg_jax.architecture import MIXED, ArchSpec, Group, Network, NetworkSpec, live_groups
from rtseg_jax.search.decide import CostOf, full_widths, make_spec

FORMS = {  # by name: path of every mixed block, share of the head's channels that everything is scaled from
    "lir_quarter_head": ("lir", 0.25),
    "lir": ("lir", 1.0),
    "mhsa": ("mhsa", 1.0),
    "skip": ("skip", 1.0),
    "mixed": (MIXED, 1.0),
}
STRONGEST = "lir_quarter_head"
HEAD = "head.conv"


def whole_spec(spec: NetworkSpec, network: Network) -> ArchSpec:
    """A network without mixed blocks as an architecture: everything kept."""
    return make_spec(spec, network, full_widths(network), {})


def supernet_spec(spec: NetworkSpec, network: Network) -> ArchSpec:
    """The supernet as an architecture: everything kept, all operators averaged."""
    return make_spec(spec, network, full_widths(network), mixed_paths(network))


def mixed_paths(network: Network) -> dict[str, str]:
    """Every operator in every mixed block."""
    return {mixed.name: MIXED for mixed in network.mixed_blocks}


def uniform_spec(
    spec: NetworkSpec, network: Network, cost_of: CostOf, target: float, form: str = STRONGEST
) -> ArchSpec:
    """The largest uniform scaling of the supernet within the target, filled up to it slice by slice.

    The factor may exceed 1: groups that reach their full width stay there. It is found to a thousandth, and what it
    leaves of the target is filled: the group that is narrowest beside its share grows first.
    """
    path, head = FORMS[form]
    paths = {mixed.name: path for mixed in network.mixed_blocks}
    groups = live_groups(network, paths)
    shares = {group.name: (head if group.name == HEAD else 1.0) * group.size for group in groups}

    def widths(factor: float) -> dict[str, int]:
        return {group.name: group.snap(round(factor * shares[group.name])) for group in groups}

    factors = np.linspace(0.0, 1.0 / head, 1000 * round(1.0 / head) + 1)
    low, high = 0, len(factors) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if cost_of(widths(factors[middle]), paths) <= target:
            low = middle
        else:
            high = middle - 1
    filled = _filled(groups, widths(factors[low]), shares, lambda w: cost_of(w, paths) <= target)
    return make_spec(spec, network, filled, paths)


def _filled(
    groups: tuple[Group, ...],
    widths: dict[str, int],
    shares: Mapping[str, float],
    fits: Callable[[Mapping[str, int]], bool],
) -> dict[str, int]:
    """Slices are added to the narrowest group beside its share while any fits."""
    open_groups = {group.name: group for group in groups}
    while open_groups:
        group = min(open_groups.values(), key=lambda g: widths[g.name] / shares[g.name])
        grown = {**widths, group.name: group.snap(min(group.size, widths[group.name] + group.multiple))}
        if grown[group.name] > widths[group.name] and fits(grown):
            widths = grown
        else:
            del open_groups[group.name]
    return widths
