"""What training and search are told; the fields are explained where they are set, in `rtseg_jax/config.py`."""

import dataclasses

from rtseg_jax.errors import UserError
from rtseg_jax.search.uniform import FORMS

CHAIN = ("pretrain", "search", "finetune")
"""The phases that lead to the searched network, each continuing the one before."""

ROUNDED = ("finetune", "uniform", "train")
"""The phases that train a decided network, which may end with it rounded as its exported file."""


@dataclasses.dataclass(frozen=True)
class MeshSpec:
    """How the devices are arranged."""

    data: int = 0
    fsdp: int = 1
    spatial: int = 1

    def __post_init__(self) -> None:
        for name, least in (("data", 0), ("fsdp", 1), ("spatial", 1)):
            if getattr(self, name) < least:
                raise UserError(f"config.mesh.{name} is {getattr(self, name)}: it must be at least {least}")


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """Optimization, its schedule, and what happens every so many steps."""

    seed: int
    batch_size: int
    eval_batch_size: int
    pretrain_steps: int
    search_steps: int
    finetune_steps: int
    rounded_steps: int
    uniform_steps: int
    restarts: bool
    learning_rate: float
    search_learning_rate: float
    finetune_learning_rate: float
    power: float
    warmup_steps: int
    momentum: float
    weight_decay: float
    clip_norm: float
    accumulate: int
    bfloat16: bool
    rematerialize: bool
    recalibration_batches: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    keep_checkpoints: int
    patience_minutes: float
    num_threads: int
    num_workers: int
    tensorboard: bool

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"config.batch_size is {self.batch_size}: it must be at least 1")
        for name in ("eval_batch_size", "accumulate", "log_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise UserError(f"config.train.{name} is {getattr(self, name)}: it must be at least 1")
        steps = ("pretrain_steps", "search_steps", "finetune_steps")
        others = ("rounded_steps", "warmup_steps", "eval_every", "num_threads", "num_workers", "patience_minutes")
        for name in (*steps, *others):
            if getattr(self, name) < 0:
                raise UserError(f"config.train.{name} is {getattr(self, name)}: it must be at least 0")
        if self.uniform_steps < -1:
            raise UserError(
                f"config.train.uniform_steps is {self.uniform_steps}: it must be at least 0, or -1 for as many as the "
                "three phases of the search"
            )

    def steps(self, phase: str) -> int:
        """Number of steps of a training phase."""
        searched = self.pretrain_steps + self.search_steps + self.finetune_steps
        uniform = searched if self.uniform_steps < 0 else self.uniform_steps
        return {
            "pretrain": self.pretrain_steps,
            "search": self.search_steps,
            "finetune": self.finetune_steps,
            "uniform": uniform,
            "train": searched,
        }[phase]

    def before(self, phase: str) -> str | None:
        """The phase whose schedule and momentum `phase` continues, if any."""
        place = CHAIN.index(phase) if phase in CHAIN else 0
        return CHAIN[place - 1] if place and not self.restarts else None

    def schedule_steps(self, phase: str, continued: bool) -> int:
        """Steps over which the learning rate falls: of the phase, or of all phases that share one schedule.

        `continued`: whether the phase goes on where the one before it ended; the first of them begins the schedule.
        """
        if not self.restarts and (phase == CHAIN[0] or (phase in CHAIN and continued)):
            return sum(self.steps(part) for part in CHAIN)
        return self.steps(phase)

    def rate(self, phase: str) -> float:
        """Learning rate at the start of the schedule of a training phase."""
        if not self.restarts:
            return self.learning_rate
        special = {"search": self.search_learning_rate, "finetune": self.finetune_learning_rate}
        return special.get(phase, self.learning_rate)


RULES = ("worth", "published")


@dataclasses.dataclass(frozen=True)
class SearchSpec:
    """How the architecture is searched."""

    rule: str
    rounds: int
    samples: int
    prior: float
    yardstick: str
    width_rate: float
    path_rate: float
    temperature_start: float
    temperature_end: float
    freeze_paths: float
    literal: bool = False

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"config.search.rule is {self.rule!r}: it must be {' or '.join(RULES)}")
        if self.yardstick not in FORMS:
            raise UserError(f"config.search.yardstick is {self.yardstick!r}: it must be one of {', '.join(FORMS)}")
        if self.rounds < 1:
            raise UserError(f"config.search.rounds is {self.rounds}: it must be at least 1")
        if self.samples < 1:
            raise UserError(f"config.search.samples is {self.samples}: it must be at least 1")
        if self.prior < 0:
            raise UserError(f"config.search.prior is {self.prior}: it must not be negative; 0: worth alone")
        if not 0 < self.temperature_end <= self.temperature_start:
            raise UserError("config.search: temperatures must be positive and must not rise")
        for name in ("width_rate", "path_rate"):
            if getattr(self, name) < 0:
                raise UserError(f"config.search.{name} is {getattr(self, name)}: it must not be negative; 0: automatic")
        if self.literal and self.rule != "published":
            raise UserError(
                f'config.search.literal is of the published search, and config.search.rule is "{self.rule}"; set it to '
                '"published", or literal to False'
            )
