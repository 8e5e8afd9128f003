"""The decision: from indicators and logits to an `ArchSpec` inside the latency target."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np

from rtseg_jax.architecture import SKIP, ArchSpec, Group, Network, NetworkSpec, live_groups
from rtseg_jax.errors import UserError
from rtseg_jax.latency import NetworkLatency
from rtseg_jax.search.arch_params import ArchParams

LANDING = (0.98, 1.0)  # predicted latency of the decision over the target

Kept = Mapping[str, int]
Paths = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Decision:
    """A decided architecture.

    Attributes:
      spec: the architecture.
      kept: indices of the kept indicators, by group.
      latency_ms: predicted.
      warnings: what a user should know, with what to change.
    """

    spec: ArchSpec
    kept: Mapping[str, np.ndarray]
    latency_ms: float
    warnings: tuple[str, ...]


def full_widths(network: Network) -> dict[str, int]:
    """All indicators of every searched group."""
    return {group.name: group.size for group in network.searched_groups}


def make_spec(spec: NetworkSpec, network: Network, widths: Kept, paths: Paths) -> ArchSpec:
    """An `ArchSpec` of what the paths leave alive."""
    return ArchSpec(spec, {group.name: int(widths[group.name]) for group in live_groups(network, paths)}, dict(paths))


class LatencyOf:
    """Predicted milliseconds of concrete decisions."""

    def __init__(self, network: Network, latency: NetworkLatency):
        self._full = full_widths(network)
        self._choices = network.choices
        self._latency = jax.jit(latency)

    def __call__(self, widths: Kept, paths: Paths) -> float:
        """Latency at the given widths (missing groups are full, they are dead anyway) and paths."""
        kept = {name: np.float32(widths.get(name, size)) for name, size in self._full.items()}
        weights = {name: np.asarray(self._choices[name].weights(path), np.float32) for name, path in paths.items()}
        return float(self._latency(kept, weights))


def reachable_range(network: Network, latency_of: LatencyOf) -> tuple[float, float]:
    """Latency of the smallest and of the largest single-path network."""
    floors = {group.name: group.floor for group in network.searched_groups}
    cheap = {mixed.name: SKIP for mixed in network.mixed_blocks}
    costly = {
        mixed.name: max(mixed.choices, key=lambda path: latency_of({}, {**cheap, mixed.name: path}))
        for mixed in network.mixed_blocks
    }
    return latency_of(floors, cheap), latency_of({}, costly)


def check_reachable(
    target_ms: float,
    reachable: tuple[float, float],
    unit: str = "ms",
    fields: str = "config.latency.target_ms or target_fraction",
) -> None:
    """Raises `UserError` where no network of the space costs what is wanted; `fields` set the target."""
    low, high = reachable
    if not low <= target_ms <= high:
        raise UserError(
            f"the target of {target_ms:.3f} {unit} is out of reach: networks of this search space take {low:.3f} to "
            f"{high:.3f} {unit}; set {fields} within that"
        )


def decide(
    spec: NetworkSpec,
    network: Network,
    arch_params: ArchParams,
    latency_of: LatencyOf,
    target_ms: float,
    unit: str = "ms",
) -> Decision:
    """Takes the most probable paths that can be scaled to the target, then the widths.

    A global threshold sets the widths, and then the best next slices are added while they fit. The predicted latency
    ends in [0.98, 1.00] of the target unless slices are too coarse for that; then a warning says so. It never falls
    when the target rises: the first slice or path that a lower target refuses costs more than all of what it takes.
    """
    indicators = {name: np.asarray(value, np.float64) for name, value in arch_params.widths.items()}
    paths = _scalable_paths(network, arch_params, latency_of, target_ms)
    groups = live_groups(network, paths)
    widths = _threshold_widths(groups, indicators, lambda w: latency_of(w, paths), target_ms)
    widths = _grow(groups, indicators, widths, lambda w: latency_of(w, paths), target_ms)
    kept = {
        group.name: np.sort(np.argsort(-indicators[group.name], kind="stable")[: widths[group.name]])
        for group in groups
    }
    predicted = latency_of(widths, paths)
    warnings = _warnings(groups, widths, paths, predicted, target_ms, unit) + _path_warnings(
        most_probable(network, arch_params), paths
    )
    return Decision(make_spec(spec, network, widths, paths), kept, predicted, warnings)


def _scalable_paths(
    network: Network, arch_params: ArchParams, latency_of: LatencyOf, target_ms: float
) -> dict[str, str]:
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
        if latency_of(floors, paths) <= target_ms:
            break
        changed = {**paths, name: path}
        if latency_of(floors, changed) < latency_of(floors, paths):
            paths = changed
    for _, name, path in changes:
        if latency_of({}, paths) >= LANDING[0] * target_ms:
            break
        changed = {**paths, name: path}
        if latency_of({}, changed) > latency_of({}, paths) and latency_of(floors, changed) <= target_ms:
            paths = changed
    return paths


def most_probable(network: Network, arch_params: ArchParams) -> dict[str, str]:
    """The likeliest path of every mixed block."""
    choices = network.choices
    return {name: choices[name].choices[int(np.asarray(value).argmax())] for name, value in arch_params.paths.items()}


def _threshold_widths(
    groups: tuple[Group, ...],
    indicators: Mapping[str, np.ndarray],
    latency: Callable[[Kept], float],
    target_ms: float,
) -> dict[str, int]:
    """Widths at the lowest global threshold whose network is within the target."""

    def at(threshold: float) -> dict[str, int]:
        return {group.name: group.snap(int((indicators[group.name] > threshold).sum())) for group in groups}

    values = np.unique(np.concatenate([indicators[group.name] for group in groups]))
    thresholds = np.concatenate([[values[0] - 1.0], values])
    low, high = 0, len(thresholds) - 1  # `high` is the smallest network: all floors
    while low < high:
        middle = (low + high) // 2
        if latency(at(thresholds[middle])) <= target_ms:
            high = middle
        else:
            low = middle + 1
    return at(thresholds[high])


def _grow(
    groups: tuple[Group, ...],
    indicators: Mapping[str, np.ndarray],
    widths: dict[str, int],
    latency: Callable[[Kept], float],
    target_ms: float,
) -> dict[str, int]:
    """Adds slices, best next indicators first, until nothing more fits."""
    open_groups = {group.name: group for group in groups}
    while open_groups:
        best = max(open_groups.values(), key=lambda group: _next_value(indicators[group.name], widths[group.name]))
        grown = {**widths, best.name: min(best.size, widths[best.name] + best.multiple)}
        if grown[best.name] > widths[best.name] and latency(grown) <= LANDING[1] * target_ms:
            widths = grown
        else:
            del open_groups[best.name]
    return widths


def _next_value(indicators: np.ndarray, kept: int) -> float:
    ordered = np.sort(indicators)[::-1]
    return float(ordered[kept]) if kept < len(ordered) else -np.inf


def _warnings(
    groups: tuple[Group, ...], widths: Kept, paths: Paths, predicted: float, target_ms: float, unit: str
) -> tuple[str, ...]:
    result = []
    if paths and all(path == SKIP for path in paths.values()):
        result.append(
            "every mixed block collapsed to skip: raise the latency target, lower search.path_rate or start the search "
            "from a longer pretrained supernet"
        )
    if all(widths[group.name] <= group.floor for group in groups):
        result.append("every width is at its floor: raise the latency target or lower loss.beta or search.width_rate")
    return (*result, *landing_warnings(predicted, target_ms, unit))


def landing_warnings(
    predicted: float, target_ms: float, unit: str = "ms", what: str = "the decided network"
) -> tuple[str, ...]:
    """What to say where a network is not within 98–100 % of its target; nothing where it is."""
    if LANDING[0] * target_ms <= predicted <= LANDING[1] * target_ms:
        return ()
    return (
        f"{what} is predicted at {predicted:.3f} {unit}, outside 98–100 % of the target {target_ms:.3f} {unit}: slices "
        "of channels are too coarse to come nearer; choose another target",
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
