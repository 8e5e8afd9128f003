"""The decision by worth: the network that loses least for the cost that it saves.

What channels are worth is in `ranking.py`. Groups are compared by worth per cost (a knapsack against a latency
table, as in HALP 2022), priced by the predictor itself: in the tiles of the device, and with the products
between groups that gradients of cost hide.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float

from rtseg_jax.architecture import Group
from rtseg_jax.search.cost import NetworkCost
from rtseg_jax.search.ranking import Rankings

LARGEST_CHANGE = 2.0  # factor by which a group may shrink in one round
CANDIDATES = 256  # networks that are priced at once

Widths = Mapping[str, int]
Totals = Mapping[str, Float[np.ndarray, " _"]]


class Prices:
    """Predicted cost of many networks at once that differ in their widths only."""

    def __init__(self, groups: Sequence[Group], cost: NetworkCost, weights: Mapping[str, jax.Array]):
        self._names = [group.name for group in groups]
        self._cost = jax.jit(
            jax.vmap(lambda row: cost(dict(zip(self._names, row, strict=True)), weights))  # type: ignore[arg-type]
        )

    def __call__(self, candidates: Sequence[Widths]) -> Float[np.ndarray, " n"]:
        """Cost of each."""
        rows = np.asarray([[widths[name] for name in self._names] for widths in candidates], np.float32)
        missing = -len(rows) % CANDIDATES  # a few sizes only, so that few are compiled
        padded = np.concatenate([rows, np.repeat(rows[:1], missing, 0)]).reshape(-1, CANDIDATES, len(self._names))
        return np.concatenate([np.asarray(self._cost(part)) for part in padded])[: len(rows)].astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The widths between which a round decides.

    Attributes:
      low: fewest, by group.
      high: most, by group.
    """

    low: Widths
    high: Widths


def full_range(groups: Sequence[Group]) -> Bounds:
    """From every group's floor to its size."""
    return Bounds({group.name: group.floor for group in groups}, {group.name: group.size for group in groups})


def below(groups: Sequence[Group], widths: Widths) -> Bounds:
    """What one round may reach: half of the widths of now, so that no estimate is trusted too far."""
    low = {g.name: max(g.floor, g.snap(int(widths[g.name] / LARGEST_CHANGE))) for g in groups}
    return Bounds(low, {g.name: widths[g.name] for g in groups})


def with_prior(groups: Sequence[Group], rankings: Rankings, prior: float) -> dict[str, Float[np.ndarray, " _"]]:
    """Worth of every width, beside a prior by which all groups matter alike.

    A group of 1/e of its channels has lost `prior` times the mean worth of a whole group, one of 1/e² four times that:
    log² of its share. Gradients are those of a network that has hardly trained: they say little of layers that learn
    late, and would narrow them to nothing for savings of next to nothing. With the prior alone, cheap groups stay wide
    and costly ones shrink together (ours).

    Args:
      groups: that are compared; every ranking begins with what is left of its group.
      rankings: worth by gradients.
      prior: weight; 0 is worth alone.
    """
    totals = {group.name: rankings[group.name].totals for group in groups}
    scale = prior * np.mean([total[-1] for total in totals.values()])
    return {
        group.name: totals[group.name] - scale * np.square(_log_shares(len(totals[group.name]), group.size))
        for group in groups
    }


def _log_shares(count: int, size: int) -> Float[np.ndarray, " count"]:
    """log(width / size) of widths 0, 1, …; 0 counts as half a channel."""
    return np.log(np.maximum(np.arange(count), 0.5) / size)


def best_widths(
    groups: Sequence[Group],
    totals: Totals,
    price: Callable[[Sequence[Widths]], np.ndarray],
    target: float,
    bounds: Bounds,
) -> dict[str, int]:
    """The widths within `bounds` that cost at most `target` and lose least worth, by greedy exchange.

    From the widest on, the step that loses least worth per saved cost is taken until the target holds; a step may be as
    long as a tile of the device needs before it saves anything. Then what still fits is given back, most worth per cost
    first. Where even the narrowest widths cost more than `target`, those are returned.

    Args:
      totals: worth of every width, by group.
    """
    widths = dict(bounds.high)
    cost = float(price([widths])[0])
    while cost > target:
        steps = list(_narrower(groups, widths, bounds))
        if not steps:
            return widths
        costs = price([{**widths, name: width} for name, width in steps])
        lost = np.asarray([totals[name][widths[name]] - totals[name][width] for name, width in steps])
        useful = np.minimum(cost - costs, cost - target)  # saving more than is asked for is worth nothing
        ratio = np.where(useful > 1e-9, lost / np.maximum(useful, 1e-9), np.inf)
        best = int(np.argmin(ratio))
        if not np.isfinite(ratio[best]):
            best = len(steps) - 1 - int(np.argmin(costs[::-1]))  # nothing saves alone: the narrowest of all
        name, width = steps[best]
        widths[name] = width
        cost = float(costs[best])
    return _filled(groups, totals, price, target, bounds, widths)


def _filled(
    groups: Sequence[Group],
    totals: Totals,
    price: Callable[[Sequence[Widths]], np.ndarray],
    target: float,
    bounds: Bounds,
    widths: dict[str, int],
) -> dict[str, int]:
    """Widths to which nothing can be added within the target."""
    cost = float(price([widths])[0])
    while steps := list(_wider(groups, widths, bounds)):
        costs = price([{**widths, name: width} for name, width in steps])
        gained = np.asarray([totals[name][width] - totals[name][widths[name]] for name, width in steps])
        ratio = np.where(costs <= target, gained / np.maximum(costs - cost, 1e-9), -1.0)
        best = int(np.argmax(ratio))
        if ratio[best] < 0:
            break
        widths = {**widths, steps[best][0]: steps[best][1]}
        cost = float(costs[best])
    return widths


def _narrower(groups: Sequence[Group], widths: Widths, bounds: Bounds) -> Iterator[tuple[str, int]]:
    for group in groups:
        for width in range(widths[group.name] - 1, bounds.low[group.name] - 1, -1):
            if group.snap(width) == width:
                yield group.name, width


def _wider(groups: Sequence[Group], widths: Widths, bounds: Bounds) -> Iterator[tuple[str, int]]:
    for group in groups:
        for width in range(widths[group.name] + 1, bounds.high[group.name] + 1):
            if group.snap(width) == width:
                yield group.name, width
                break


def marginal_worth(
    groups: Sequence[Group], totals: Totals, price: Callable[[Sequence[Widths]], np.ndarray], widths: Widths
) -> dict[str, dict[str, float | int | None]]:
    """Why a group has its width: worth per cost of what it would lose and of what it would gain next.

    Returns:
      By group: `width`, `size`, `lost` (worth per cost of the cheapest way to make it narrower) and `gained` (of the
      best way to make it wider again); None where there is no such way, or where it changes no cost.
    """
    everything = full_range(groups)
    cost = float(price([widths])[0])
    result: dict[str, dict[str, float | int | None]] = {}
    for group in groups:
        total, width = totals[group.name], widths[group.name]
        down = [w for _, w in _narrower([group], widths, everything)]
        up = [w for w in range(width + 1, len(total)) if group.snap(w) == w]
        changes = price([{**widths, group.name: w} for w in (*down, *up, width)]) - cost
        lost = [_per_cost(total[width] - total[w], -c) for w, c in zip(down, changes, strict=False)]
        gained = [_per_cost(total[w] - total[width], c) for w, c in zip(up, changes[len(down) :], strict=False)]
        result[group.name] = {
            "width": width,
            "size": group.size,
            "lost": min((ratio for ratio in lost if ratio is not None), default=None),
            "gained": max((ratio for ratio in gained if ratio is not None), default=None),
        }
    return result


def _per_cost(worth: float, cost: float) -> float | None:
    return float(worth / cost) if cost > 1e-9 else None
