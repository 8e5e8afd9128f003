"""The loop: load, step, check, log, evaluate, save."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from rtseg_jax.errors import UserError
from rtseg_jax.training.checkpoints import Checkpoints
from rtseg_jax.training.failures import lost
from rtseg_jax.training.placement import Placement
from rtseg_jax.training.preemption import Notice, Preempted
from rtseg_jax.training.processes import by_first, is_first
from rtseg_jax.training.profiling import Trace
from rtseg_jax.training.progress import Reporter
from rtseg_jax.training.specs import TrainSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup, make_step
from rtseg_jax.training.watchdog import Watchdog
from rtseg_jax.training.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
      name: names its checkpoints and its lines in the history.
      steps: length.
      setup: what a step is a function of.
      batches: batches of this process from a given step on.
      teacher: variables of `setup.teacher`, or None.
      score: validation mIoU of a state, or None where that says nothing.
      decide: how often, in steps, and what the host changes in the state between two steps; None for nothing.
      profile: the first and the last step of which a trace is written, or None.
    """

    name: str
    steps: int
    setup: StepSetup
    batches: Callable[[int], Iterator[Mapping[str, Any]]]
    teacher: Any
    score: Callable[[TrainState], float] | None
    decide: tuple[int, Callable[[int, TrainState], TrainState]] | None = None
    profile: tuple[int, int] | None = None


def compile_step(
    setup: StepSetup, state: TrainState, placement: Placement
) -> Callable[[TrainState, Any, Any], tuple[TrainState, Any]]:
    """The step on all devices, for arguments that lie where `placement` puts them; the old state's buffers are reused.

    `state` may be the shapes of one.
    """
    return jax.jit(
        make_step(dataclasses.replace(setup, placement=placement)),
        out_shardings=(placement.of_state(state), placement.everywhere),
        donate_argnums=0,
    )


def train(
    phase: Phase, state: TrainState, spec: TrainSpec, workdir: Workdir, placement: Placement, notice: Notice
) -> TrainState:
    """Runs a phase to its end, from its newest checkpoint where it has one.

    Raises:
      UserError: the loss is not finite; the last good checkpoint stays.
      Preempted: the run was told to end; the last step is saved.
    """
    checkpoints = Checkpoints(workdir.checkpoints(phase.name), spec.keep_checkpoints)
    start, state = checkpoints.resume(state) or (0, state)
    by_first(workdir.forget_history, phase.name, start, phase.steps)
    reporter = _reporter(phase, start, spec, workdir)
    step_fn = compile_step(phase.setup, state, placement)
    batches = placement.batches(phase.batches(checkpoints.next_batch(start)), phase.steps - start)
    trace = Trace(workdir.profile / phase.name, phase.profile if is_first() else None)
    watchdog = Watchdog(spec.patience_minutes, phase.name)
    origin = workdir.provenance()
    previous, alone = None, False
    notice.steps_begin()
    try:
        for step, batch in enumerate(reporter.timed(batches), start + 1):
            trace.before(step)
            state, metrics = step_fn(state, batch, phase.teacher)
            trace.after(step, metrics)
            # One step behind, so that the device never waits for the host; but before anything is saved the newest
            # loss is looked at: a checkpoint never holds a state behind a bad one.
            check_finite(previous, phase.name, step - 1)
            previous = metrics["losses"]
            watchdog.step_finished()
            reporter.advance()
            last = step == phase.steps
            if phase.decide is not None and step % phase.decide[0] == 0:
                state = phase.decide[1](step, state)
            if last or step % spec.log_every == 0:
                reporter.log(step, metrics)
            miou = None
            if phase.score is not None and spec.eval_every and step % spec.eval_every == 0 and not last:
                miou = phase.score(state)
                reporter.score(step, miou)
            told_to_end = notice.reached(step)
            if last or told_to_end or miou is not None or step % spec.checkpoint_every == 0:
                check_finite(previous, phase.name, step)
                about = {"input": {"seed": phase.setup.seed, "next_batch": step}, "provenance": origin}
                checkpoints.save(step, state, about, miou)
            if told_to_end:
                raise Preempted(f"after step {step} of {phase.name}")
        if notice.reached(phase.steps + 1):  # a notice during the last step
            raise Preempted(f"at the end of {phase.name}")
    except Exception as error:
        alone = lost(error)  # closing would wait for a process that is gone
        raise
    finally:
        trace.close()
        notice.steps_end()
        watchdog.close()
        batches.close()
        reporter.close()
        if not alone:
            checkpoints.close()
    return state


def _reporter(phase: Phase, start: int, spec: TrainSpec, workdir: Workdir) -> Reporter:
    return Reporter(
        workdir,
        phase.name,
        start,
        phase.steps,
        batch_size=spec.batch_size,
        target=phase.setup.search.target if phase.setup.search else None,
        group_sizes={group.name: group.size for group in phase.setup.model.network.groups},
        tensorboard=spec.tensorboard,
    )


def check_finite(losses: Mapping[str, Any] | None, phase: str, step: int) -> None:
    """Raises `UserError` where the total loss of step number `step` is not a number."""
    if losses is not None and not math.isfinite(float(losses["total"])):
        terms = ", ".join(f"{name} {float(value):g}" for name, value in losses.items())
        raise UserError(
            f"{phase}: the loss is not finite at step {step} ({terms}); lower config.train.learning_rate or set "
            "config.train.clip_norm; the last good checkpoint is kept and the run can be started again"
        )
