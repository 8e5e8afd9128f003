"""What happens between two steps of the search by worth: paths by held-out evidence, widths by worth, new masks."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from rtseg_jax.architecture import SKIP
from rtseg_jax.data import training_batches
from rtseg_jax.files import write_json
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.models.normalization import normalize
from rtseg_jax.search.decide import CostOf
from rtseg_jax.search.path_choice import Change, Evidence, choose_paths, price_of_narrowing
from rtseg_jax.search.ranking import Rankings
from rtseg_jax.search.rounds import Rounds, architecture_of, decided_paths, default_paths
from rtseg_jax.search.worth_params import WorthParams
from rtseg_jax.training.losses import LossSpec, segmentation_losses
from rtseg_jax.training.placement import Placement
from rtseg_jax.training.processes import by_first, told
from rtseg_jax.training.run import Costs, Run
from rtseg_jax.training.state import TrainState

HELD_OUT_BATCHES = 8  # on which paths are compared


@dataclasses.dataclass(frozen=True)
class Decider:
    """The decisions of one search."""

    run: Run
    rounds: Rounds
    cost_of: CostOf

    @staticmethod
    def start(run: Run, costs: Costs) -> "Decider":
        """Of a run that searches by worth."""
        spec = run.spec.search
        rounds = Rounds(run.supernet, costs.of_network, costs.target, spec.rounds, spec.prior)
        return Decider(run, rounds, costs.of_decision)

    @property
    def loss(self) -> LossSpec:
        """The main loss alone: heads that are thrown away must not say what a channel is worth."""
        return dataclasses.replace(self.run.spec.loss.of_supernet, gamma=0.0, lam=0.0)

    def most_probable(self, arch: WorthParams) -> Architecture:
        """The masks of now, and the most probable paths."""
        return self._architecture(arch, decided_paths(self.run.supernet, arch))

    def rankings(self, state: TrainState) -> Rankings:
        """What the channels of every group are worth now; `state.arch` is on the host."""
        return self.rounds.rankings(state.arch)

    def after(self, step: int, state: TrainState) -> TrainState:
        """The decision after so many steps of the search; the first one also decides the paths."""
        number = step * self.rounds.number // self.run.spec.train.search_steps
        arch = jax.device_get(state.arch)
        rankings = self.rankings(dataclasses.replace(state, arch=arch))
        paths = decided_paths(self.run.supernet, arch) if number > 1 else self._paths(state, arch, rankings)
        widths = self.rounds.widths(arch, rankings, paths, number)
        # One decision for all processes: in each of them it is arithmetic of its own host.
        paths, widths = told(lambda: (dict(paths), {name: int(width) for name, width in widths.items()}))
        if number == 1:
            by_first(self._explain, "first", rankings, paths, self.rounds.kept(arch, paths))
        if number == self.rounds.number:
            by_first(self._explain, "last", rankings, paths, widths)
        arch = self.rounds.decided(arch, rankings, paths, widths)
        return dataclasses.replace(state, arch=self.run.placement.put(arch))

    def _explain(self, when: str, rankings: Rankings, paths: Mapping[str, str], widths: Mapping[str, int]) -> None:
        """Keeps the reasons of a decision for the report."""
        path = self.run.workdir.worth
        known = json.loads(path.read_text()) if path.exists() and when != "first" else {}
        write_json(path, known | {when: self.rounds.explained(rankings, paths, widths)})

    def _paths(self, state: TrainState, arch: WorthParams, rankings: Rankings) -> dict[str, str]:
        """Paths by the loss of held-out pictures with one block changed at a time, everything else a convolution.

        A millisecond is priced by what narrowing all the way to the target would cost now. The first round's own
        narrowing would be cheap, and the same for every target: milliseconds are dear only where few are left. What a
        change costs is likewise what it would cost there: a block at 1/32 is narrowed to next to nothing.
        """
        plain = default_paths(self.run.supernet)
        if not plain:
            return plain
        probe = Probe.start(self.run, self.loss)
        losses: dict[Change | None, np.ndarray] = {None: probe(state.variables, self._architecture(arch, plain))}
        choices = self.run.supernet.choices
        changes = [(block, path) for block in plain for path in choices[block].choices if path != plain[block]]
        for change in changes:
            losses[change] = probe(state.variables, self._architecture(arch, {**plain, change[0]: change[1]}))
        widths = self.rounds.widths(arch, rankings, plain, self.rounds.number)
        narrow = self.rounds.decided(arch, rankings, plain, widths)
        cost = self._cost(arch, plain)
        narrow_loss = probe(state.variables, self._architecture(narrow, plain))
        price = price_of_narrowing(
            float(losses[None].mean()), float(narrow_loss.mean()), cost, self._cost(narrow, plain)
        )
        evidence = self._evidence(losses, arch, narrow, plain)
        return self._reachable(choose_paths(plain, evidence, price), evidence)

    def _evidence(
        self,
        losses: Mapping[Change | None, np.ndarray],
        arch: WorthParams,
        narrow: WorthParams,
        plain: Mapping[str, str],
    ) -> dict[Change, Evidence]:
        """Loss by change of one block, beside what it costs; attention is taken to narrow as its convolution does.

        Args:
          losses: by held-out batch; None is the network without any change.
          arch: masks of now.
          narrow: masks at the target, of the groups of `plain`.
          plain: paths of the network without any change.
        """
        cost = self._cost(arch, plain)
        left = {block: self._block_cost(narrow, plain, block) / self._block_cost(arch, plain, block) for block in plain}
        return {
            (block, path): Evidence(
                losses[block, path] - losses[None], left[block] * (self._cost(arch, {**plain, block: path}) - cost)
            )
            for block, path in filter(None, losses)
        }

    def _reachable(self, paths: dict[str, str], evidence: Mapping[Change, Evidence]) -> dict[str, str]:
        """The same, with blocks skipped where even floors are above the target: those that hurt least first."""
        order = sorted(paths, key=lambda block: float(evidence[block, SKIP].losses.mean()))
        for block in order:
            floors = {group.name: group.floor for group in self.rounds.groups(paths)}
            if self.cost_of(floors, paths) <= self.rounds.target.cost:
                break
            paths = {**paths, block: SKIP}
        return paths

    def _architecture(self, arch: WorthParams, paths: Mapping[str, str]) -> Architecture:
        return architecture_of(self.run.supernet, arch, paths)

    def _block_cost(self, arch: WorthParams, paths: Mapping[str, str], block: str) -> float:
        """What the block adds to the network, never 0."""
        return max(1e-9, self._cost(arch, paths) - self._cost(arch, {**paths, block: SKIP}))

    def _cost(self, arch: WorthParams, paths: Mapping[str, str]) -> float:
        return self.cost_of(self.rounds.kept(arch, paths), paths)


@dataclasses.dataclass(frozen=True)
class Probe:
    """Loss of the same held-out pictures under any architecture, with the statistics of each batch."""

    loss: Callable[[Any, Architecture, Any], jax.Array]
    batches: tuple[Any, ...]

    @staticmethod
    def start(run: Run, spec: LossSpec) -> "Probe":
        """Reads the pictures; they stay on the devices."""
        loss = jax.jit(
            _main_loss(run.model(run.supernet), spec, run.placement, run.augment),
            in_shardings=(None, run.placement.everywhere, None),
            out_shardings=run.placement.everywhere,
        )
        shard_index, shard_count = run.placement.reader
        batches = training_batches(
            run.held_out,
            run.spec.data,
            run.spec.train.batch_size,
            seed=run.seed("search"),
            num_threads=run.spec.train.num_threads,
            shard_index=shard_index,
            shard_count=shard_count,
        )
        return Probe(loss, tuple(run.placement.batches(batches, HELD_OUT_BATCHES)))

    def __call__(self, variables: Any, architecture: Architecture) -> np.ndarray:
        """Loss of every batch."""
        architecture = jax.tree.map(np.asarray, architecture)
        return np.asarray([float(self.loss(variables, architecture, batch)) for batch in self.batches])


def _main_loss(
    model: SegmentationNetwork, spec: LossSpec, placement: Placement, augment: Callable[[Any], Any] | None
) -> Callable[[Any, Architecture, Any], jax.Array]:
    def loss(variables: Any, architecture: Architecture, batch: Any) -> jax.Array:
        batch = batch if augment is None else placement.divided(augment(batch))
        outputs, _ = model.apply(
            placement.gathered(variables),
            normalize(batch["image"]),
            architecture,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return segmentation_losses(outputs, batch["label"], None, spec)["segmentation"]

    return loss
