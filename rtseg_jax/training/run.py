"""What the phases of one run share: data, declaration, mesh, latency, and where results come from."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from rtseg_jax.architecture import ArchSpec, Network, declare
from rtseg_jax.config import RunSpec
from rtseg_jax.data import Dataset, Source, build_dataset, check_source, kept_in_memory, training_batches
from rtseg_jax.data.caching import cached, uncached
from rtseg_jax.data.device_augmentation import augment_batch
from rtseg_jax.data.subset import hold_out
from rtseg_jax.errors import UserError
from rtseg_jax.export.integer import check_pictures
from rtseg_jax.export.spec import INTEGERS
from rtseg_jax.files import Place, place
from rtseg_jax.latency import (
    LatencyModel,
    Prediction,
    check_network,
    network_latency,
    noise_warning,
    predict_arch,
    run_sweep_in_child,
)
from rtseg_jax.models import SegmentationNetwork, initial_variables, variable_shapes
from rtseg_jax.models.convolution import default_lowering
from rtseg_jax.search.cost import NetworkCost, Target
from rtseg_jax.search.decide import CostOf, check_reachable, reachable_range
from rtseg_jax.search.rounds import default_paths
from rtseg_jax.search.uniform import mixed_paths
from rtseg_jax.training.checkpoints import load_newest
from rtseg_jax.training.optimizers import fresh_momentum
from rtseg_jax.training.placement import Placement, make_placement
from rtseg_jax.training.preemption import Notice
from rtseg_jax.training.processes import by_first, is_first, say, told
from rtseg_jax.training.workdir import Workdir

PHASE_SEEDS = {
    "pretrain": 0,
    "search": 1,
    "finetune": 2,
    "uniform": 3,
    "train": 4,
}  # each phase draws its own data and noise


@dataclasses.dataclass(frozen=True)
class Costs:
    """What networks of a run cost, and what the search aims at.

    Attributes:
      of_network: cost by kept counts and path weights.
      of_decision: the same for whole numbers.
      of_arch: predicted milliseconds of an architecture with their interval; None where that is not known.
      target: what the search aims at: milliseconds, unless it has a budget in their place.
      card: how was measured; empty where nothing was.
    """

    of_network: NetworkCost
    of_decision: CostOf
    of_arch: Callable[[ArchSpec], Prediction | None]
    target: Target
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: its spec, its workdir, and what is built from them."""

    spec: RunSpec
    workdir: Workdir
    dataset: Dataset
    held_out: Source
    supernet: Network
    placement: Placement
    notice: Notice

    @staticmethod
    def start(spec: RunSpec, workdir: Workdir, notice: Notice | None = None) -> "Run":
        """Builds data set, declaration and mesh, and looks at every picture once.

        Raises:
          UserError: anything that would end the run later.
        """
        notice = notice or Notice()
        placement = make_placement(spec.mesh)
        placement.check_batch_size(spec.train.batch_size, "config.batch_size")
        placement.check_batch_size(spec.train.eval_batch_size, "config.train.eval_batch_size")
        network = declare(spec.network)
        placement.check_rows(network, spec.data.train_size, "config.data.train_size")
        placement.check_rows(network, spec.data.eval_size, "config.data.eval_size")
        dataset = build_dataset(spec.data, spec.info)
        for split, source in (("training", dataset.train), ("validation", dataset.validation)):
            if (line := check_source(source, dataset.info, f"checking {split} pictures")) is not None:
                say(f"{split}: {line}")
        if spec.latency.precision in INTEGERS:
            check_pictures(len(dataset.train), f"config.latency.precision={spec.latency.precision}")
        # Nothing is decided about a network without choices: it trains on everything.
        train, held_out = hold_out(uncached(dataset.train), spec.data.held_out if spec.searches else 0.0)
        dataset = kept_in_memory(dataclasses.replace(dataset, train=train), spec.data)
        if held_out is train:
            return Run(spec, workdir, dataset, dataset.train, network, placement, notice)
        return Run(spec, workdir, dataset, cached(held_out, spec.data), network, placement, notice)

    def model(self, network: Network) -> SegmentationNetwork:
        """A network as it is trained here."""
        dtype = jnp.bfloat16 if self.spec.train.bfloat16 else jnp.float32
        return SegmentationNetwork(
            network,
            dtype,
            default_lowering(),
            rematerialize=self.spec.train.rematerialize,
            division=self.placement.division,
        )

    def seed(self, phase: str) -> int:
        """Seed of a phase."""
        return len(PHASE_SEEDS) * self.spec.train.seed + PHASE_SEEDS[phase]

    @property
    def augment(self) -> Callable[[Any], Any] | None:
        """What a step does to its batch first: augmentation on the device; None where the host has done it."""
        if self.spec.data.augment_on == "host":
            return None
        return partial(augment_batch, size=self.spec.data.train_size)

    def batches(self, phase: str, start: int = 0) -> Iterator[Any]:
        """This process's part of the training batches of a phase, from batch number `start` on."""
        shard_index, shard_count = self.placement.reader
        return training_batches(
            self.dataset.train,
            self.spec.data,
            self.spec.train.batch_size,
            seed=self.seed(phase),
            start_step=start,
            num_threads=self.spec.train.num_threads,
            num_workers=self.spec.train.num_workers,
            shard_index=shard_index,
            shard_count=shard_count,
        )

    def initial_variables(self, network: Network, seed: int) -> dict[str, Any]:
        """Fresh weights on the devices."""
        return self.placement.put(initial_variables(self.model(network), seed))

    def has(self, phase: str) -> bool:
        """Whether a phase is finished here or in the run to start from."""
        return told(lambda: any(place.finished(phase) for place in self._places()))

    def source(self, phase: str) -> Workdir:
        """The workdir that holds a finished phase: this one, or the one to start from."""
        finished = told(lambda: [place.finished(phase) for place in self._places()])
        if any(finished):
            return self._places()[finished.index(True)]
        raise UserError(
            f"{self.workdir.root}: the phase {phase!r} is not finished there; add it to config.phases or name a run "
            "that finished it with config.init_from"
        )

    def decided(self) -> ArchSpec:
        """The architecture to fine-tune: of the finished search, else one that was put into a workdir."""
        if self.has("search"):
            return self._own(self.source("search").searched)
        paths = [path for place in self._places() for path in (place.searched, place.architecture)]
        return self._own(paths[told(lambda: next((i for i, path in enumerate(paths) if path.exists()), 0))])

    def finetuned(self) -> ArchSpec:
        """The architecture that fine-tuning has finished, from the same workdir as its weights."""
        return self._own(self.source("finetune").searched)

    def _own(self, path: Place) -> ArchSpec:
        arch = ArchSpec.load(path)
        if arch.network != self.spec.network:
            raise UserError(f"{path} was cut out of another supernet; use the config.network it was made with")
        return arch

    def load(self, phase: str, checkpoint: str, network: Network) -> dict[str, Any]:
        """Variables of `network` from a checkpoint of a finished phase."""
        like = self.placement.put(zero_variables(self.model(network)))
        return load_newest(self.source(phase).checkpoints(checkpoint), like)

    def continues(self, phase: str) -> bool:
        """Whether a phase takes schedule and momentum from the one before."""
        before = self.spec.train.before(phase)
        return before is not None and self.has(before)

    def momentum(self, phase: str, optimizer: Any, variables: Any) -> Any:
        """The optimizer state that the phase before left, where `phase` continues it; else None."""
        if not self.continues(phase):
            return None
        before = self.spec.train.before(phase)
        like = self.placement.put(fresh_momentum(optimizer, variables["params"]))
        return load_newest(self.source(str(before)).checkpoints(f"{before}_momentum"), like)

    def costs(self) -> Costs:
        """What networks cost by the budget or the predictor; raises `UserError` where the target is out of reach."""
        size = self.spec.latency.image_size
        if (budget := self.spec.budget) is not None:
            of_decision = CostOf(self.supernet, of_network := budget.of_network(self.supernet, size))
            check_reachable(budget.aim, reachable_range(self.supernet, of_decision), fields="config.budget")
            return Costs(of_network, of_decision, lambda arch: None, budget.aim)
        model = self._predictor()
        of_decision = CostOf(self.supernet, of_network := network_latency(self.supernet, size, model))
        wanted = told(lambda: float(self.spec.latency.target(of_decision({}, mixed_paths(self.supernet)))))
        target = Target(wanted, model.unit)
        low, high = reachable_range(self.supernet, of_decision)
        if self.spec.search.rule != "published":
            high = of_decision({}, default_paths(self.supernet))  # from where the search by worth begins
        check_reachable(target, (low, high))

        def of_arch(arch: ArchSpec) -> Prediction | None:
            known = arch.network.name == self.spec.network.name  # whose blocks were measured
            return predict_arch(arch, size, model) if known else None

        return Costs(of_network, of_decision, of_arch, target, model.card)

    def _predictor(self) -> LatencyModel:
        """The recorded predictor, or one measured now."""
        path = place(self.spec.predictor) if self.spec.predictor else self.workdir.latency / "predictor.json"
        if not self.spec.predictor:
            by_first(self._measured, path)
        model = LatencyModel.load(path)
        measured, wanted = tuple(model.card["image_size"]), self.spec.latency.image_size
        if measured != wanted:
            raise UserError(f"{path} was measured at {measured}, the network input is {wanted}; measure at that size")
        if model.precision != (precision := self.spec.latency.precision):
            raise UserError(
                f"{path} was measured on {model.precision} files, config.latency.precision is {precision}; measure "
                f"with --precision={precision}"
            )
        check_network(model.card, self.spec.network, str(path))
        if warning := noise_warning(model.card):
            log_warnings((f"{path}: {warning}",))
        if (backend := model.card["backend"]) != (device := self.spec.latency.device):
            log_warnings(
                (
                    f"{path} is of {backend}, and so are target and predictions; latencies in the table will be "
                    f"measured on config.latency.device={device}",
                )
            )
        return model

    def _measured(self, path: Place) -> None:
        if not path.exists():
            run_sweep_in_child(self.spec.network, self.spec.latency, self.workdir.latency)

    def _places(self) -> list[Workdir]:
        return self.workdir.and_start(self.spec.init_from)


def zero_variables(model: SegmentationNetwork) -> dict[str, Any]:
    """Zeros in the shape of a network's variables."""
    # Made by NumPy: zeros of JAX are compiled for every shape.
    return jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), variable_shapes(model))


def log_warnings(warnings: tuple[str, ...]) -> None:
    """Says what the user should know."""
    for warning in warnings if is_first() else ():
        logging.warning("%s", warning)
