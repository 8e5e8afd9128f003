"""The decision: from indicators and logits to an `ArchSpec` inside the target."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np

from rtseg_jax.architecture import SKIP, ArchSpec, Group, Network, NetworkSpec, live_groups
from rtseg_jax.errors import UserError
from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.search.cost import NetworkCost, Target

LANDING = (0.98, 1.0)  # predicted cost of the decision over the target

Kept = Mapping[str, int]
Paths = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Decision:
    """A decided architecture.

    Attributes:
      spec: the architecture.
      kept: indices of the kept indicators, by group.
      cost: predicted.
      warnings: what a user should know, with what to change.
    """

    spec: ArchSpec
    kept: Mapping[str, np.ndarray]
    cost: float
    warnings: tuple[str, ...]


def full_widths(network: Network) -> dict[str, int]:
    """All indicators of every searched group."""
    return {group.name: group.size for group in network.searched_groups}


def make_spec(spec: NetworkSpec, network: Network, widths: Kept, paths: Paths) -> ArchSpec:
    """An `ArchSpec` of what the paths leave alive."""
    return ArchSpec(spec, {group.name: int(widths[group.name]) for group in live_groups(network, paths)}, dict(paths))


class CostOf:
    """Predicted cost of concrete decisions."""

    def __init__(self, network: Network, cost: NetworkCost):
        self._full = full_widths(network)
        self._choices = network.choices
        self._cost = jax.jit(cost)

    def __call__(self, widths: Kept, paths: Paths) -> float:
        """Cost at the given widths (missing groups are full, they are dead anyway) and paths."""
        kept = {name: np.float32(widths.get(name, size)) for name, size in self._full.items()}
        weights = {name: np.asarray(self._choices[name].weights(path), np.float32) for name, path in paths.items()}
        return float(self._cost(kept, weights))


def reachable_range(network: Network, cost_of: CostOf) -> tuple[float, float]:
    """Cost of the smallest and of the largest single-path network."""
    floors = {group.name: group.floor for group in network.searched_groups}
    cheap = {mixed.name: SKIP for mixed in network.mixed_blocks}
    costly = {
        mixed.name: max(mixed.choices, key=lambda path: cost_of({}, {**cheap, mixed.name: path}))
        for mixed in network.mixed_blocks
    }
    return cost_of(floors, cheap), cost_of({}, costly)


def check_reachable(
    target: Target,
    reachable: tuple[float, float],
    fields: str = "config.latency.target_ms or target_fraction",
) -> None:
    """Raises `UserError` where no network of the space costs what is wanted; `fields` set the target."""
    low, high = reachable
    if not low <= target.cost <= high:
        raise UserError(
            f"the target of {target.written(target.cost)} is out of reach: networks of this search space take "
            f"{low:.3f} to {target.written(high)}; set {fields} within that"
        )


def decide(
    spec: NetworkSpec,
    network: Network,
    arch_params: ArchParams,
    cost_of: CostOf,
    target: Target,
) -> Decision:
    """Takes the most probable paths that can be scaled to the target, then the widths.

    A global threshold sets the widths, and then the best next slices are added while they fit. The predicted cost
    ends in [0.98, 1.00] of the target unless slices are too coarse for that; then a warning says so. It never falls
    when the target rises: the first slice or path that a lower target refuses costs more than all of what it takes.
    """
    indicators = {name: np.asarray(value, np.float64) for name, value in arch_params.widths.items()}
    paths = _scalable_paths(network, arch_params, cost_of, target.cost)
    groups = live_groups(network, paths)
    widths = _threshold_widths(groups, indicators, lambda w: cost_of(w, paths), target.cost)
    widths = _grow(groups, indicators, widths, lambda w: cost_of(w, paths), target.cost)
    kept = {
        group.name: np.sort(np.argsort(-indicators[group.name], kind="stable")[: widths[group.name]])
        for group in groups
    }
    predicted = cost_of(widths, paths)
    warnings = _warnings(groups, widths, paths, predicted, target) + _path_warnings(
        most_probable(network, arch_params), paths
    )
    return Decision(make_spec(spec, network, widths, paths), kept, predicted, warnings)


def _scalable_paths(network: Network, arch_params: ArchParams, cost_of: CostOf, target: float) -> dict[str, str]:
    """Most probable paths; the least certain ones change until the target lies between their floors and full widths.

    Changes are tried in the order of log-probability that they cost: cheaper paths while even the smallest widths are
    too slow, then costlier ones while even full widths are too fast.
    """
    floors = {group.name: group.floor for group in network.searched_groups}
    logits = {name: np.asarray(value) for name, value in arch_params.paths.items()}
    paths = most_probable(network, arch_params)
    changes = sorted(
        (
            (float(logits[name].max() - logit), name, path)
            for name, mixed in network.choices.items()
            for path, logit in zip(mixed.choices, logits[name], strict=True)
        ),
        key=lambda change: change[0],
    )
    for _, name, path in changes:
        if cost_of(floors, paths) <= target:
            break
        changed = {**paths, name: path}
        if cost_of(floors, changed) < cost_of(floors, paths):
            paths = changed
    for _, name, path in changes:
        if cost_of({}, paths) >= LANDING[0] * target:
            break
        changed = {**paths, name: path}
        if cost_of({}, changed) > cost_of({}, paths) and cost_of(floors, changed) <= target:
            paths = changed
    return paths


def most_probable(network: Network, arch_params: ArchParams) -> dict[str, str]:
    """The likeliest path of every mixed block."""
    choices = network.choices
    return {name: choices[name].choices[int(np.asarray(value).argmax())] for name, value in arch_params.paths.items()}


def _threshold_widths(
    groups: tuple[Group, ...],
    indicators: Mapping[str, np.ndarray],
    cost: Callable[[Kept], float],
    target: float,
) -> dict[str, int]:
    """Widths at the lowest global threshold whose network is within the target."""

    def at(threshold: float) -> dict[str, int]:
        return {group.name: group.snap(int((indicators[group.name] > threshold).sum())) for group in groups}

    values = np.unique(np.concatenate([indicators[group.name] for group in groups]))
    thresholds = np.concatenate([[values[0] - 1.0], values])
    low, high = 0, len(thresholds) - 1  # `high` is the smallest network: all floors
    while low < high:
        middle = (low + high) // 2
        if cost(at(thresholds[middle])) <= target:
            high = middle
        else:
            low = middle + 1
    return at(thresholds[high])


def _grow(
    groups: tuple[Group, ...],
    indicators: Mapping[str, np.ndarray],
    widths: dict[str, int],
    cost: Callable[[Kept], float],
    target: float,
) -> dict[str, int]:
    """Adds slices, best next indicators first, until nothing more fits."""
    open_groups = {group.name: group for group in groups}
    while open_groups:
        best = max(open_groups.values(), key=lambda group: _next_value(indicators[group.name], widths[group.name]))
        grown = {**widths, best.name: min(best.size, widths[best.name] + best.multiple)}
        if grown[best.name] > widths[best.name] and cost(grown) <= LANDING[1] * target:
            widths = grown
        else:
            del open_groups[best.name]
    return widths


def _next_value(indicators: np.ndarray, kept: int) -> float:
    ordered = np.sort(indicators)[::-1]
    return float(ordered[kept]) if kept < len(ordered) else -np.inf


def _warnings(
    groups: tuple[Group, ...], widths: Kept, paths: Paths, predicted: float, target: Target
) -> tuple[str, ...]:
    result = []
    if paths and all(path == SKIP for path in paths.values()):
        result.append(
            "every mixed block collapsed to skip: raise the target, lower search.path_rate or start the search "
            "from a longer pretrained supernet"
        )
    if all(widths[group.name] <= group.floor for group in groups):
        result.append("every width is at its floor: raise the target or lower loss.beta or search.width_rate")
    return (*result, *landing_warnings(predicted, target))


def landing_warnings(predicted: float, target: Target, what: str = "the decided network") -> tuple[str, ...]:
    """What to say where a network is not within 98–100 % of its target; nothing where it is."""
    if LANDING[0] * target.cost <= predicted <= LANDING[1] * target.cost:
        return ()
    return (
        f"{what} is predicted at {target.written(predicted)}, outside 98–100 % of the target "
        f"{target.written(target.cost)}: no widths of these paths come nearer; choose another target",
    )


def _path_warnings(wanted: Paths, paths: Paths) -> tuple[str, ...]:
    changed = ", ".join(
        f"{name} to {paths[name]} (from {wanted[name]})" for name in paths if paths[name] != wanted[name]
    )
    if not changed:
        return ()
    return (
        f"the most probable paths have no widths within 98–100 % of the target; the least certain moved: {changed}",
    )
