"""The training phases: pretrain → search → finetune, and the uniformly scaled baseline."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rtseg_jax.architecture import Network, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.search import arch_params
from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.search.decide import Decision, decide
from rtseg_jax.search.slicing import slice_variables
from rtseg_jax.search.uniform import uniform_spec
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.checkpoints import Checkpoints
from rtseg_jax.training.loop import Phase, train
from rtseg_jax.training.optimizers import architecture_optimizer, weight_optimizer
from rtseg_jax.training.run import Latency, Run, log_warnings
from rtseg_jax.training.scoring import Scorer, make_recalibration, make_scorer
from rtseg_jax.training.sharding import on_device, put_replicated, replicated, split
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import SearchSetup, StepSetup

Results = dict[str, Any]


def pretrain(run: Run) -> Results:
    """Trains the supernet: every mask 1, every mixed block the average of its operators."""
    variables = run.initial_variables(run.supernet, run.seed("pretrain"))
    return fit(run, "pretrain", run.supernet, variables)


def finetune(run: Run) -> Results:
    """Trains the searched network, from its sliced weights where there are some, with the supernet as teacher."""
    arch = run.architecture()
    network = declare_spec(arch)
    if run.has("search"):
        variables = run.load("search", "searched", network)
    else:
        print("finetune: an architecture without weights; training it from scratch")
        variables = run.initial_variables(network, run.seed("finetune"))
    results = fit(run, "finetune", network, variables, teacher=run.has("pretrain"))
    arch.save(run.workdir.architecture)  # an architecture from another run belongs to this one from here on
    return results


def uniform(run: Run, latency: Latency) -> Results:
    """Trains the supernet's own shape, scaled uniformly to the target, for as long as the searched network had."""
    arch = uniform_spec(run.spec.network, run.supernet, latency.of_decision, latency.target_ms)
    arch.save(run.workdir.uniform)
    network = declare_spec(arch)
    return fit(run, "uniform", network, run.initial_variables(network, run.seed("uniform")))


def search(run: Run, latency: Latency) -> Results:
    """Trains weights and architecture together, decides, slices, and recalibrates batch norm."""
    teacher = run.load("pretrain", "pretrain_variables", run.supernet)
    state, setup = _search_setup(run, latency, teacher)
    scorer = _scorer(run, setup.model)
    state = _train(
        run, "search", setup, state, teacher, lambda s: scorer(s.variables, most_probable(run.supernet, s.arch)).miou
    )
    decision = decide(run.spec.network, run.supernet, state.arch, latency.of_decision, latency.target_ms, latency.unit)
    log_warnings(decision.warnings)
    return _cut_out(run, decision, state) | {"target_ms": latency.target_ms}


def fit(run: Run, phase: str, network: Network, variables: Any, *, teacher: bool = False) -> Results:
    """Trains a fixed network for the length of `phase`; its score is the result."""
    distilled = teacher and run.spec.loss.lam > 0
    model = run.model(network)
    setup = StepSetup(
        model,
        weight_optimizer(run.spec.train, phase),
        run.spec.loss,
        run.seed(phase),
        teacher=run.model(run.supernet) if distilled else None,
        augment=run.augment,
    )
    scorer = _scorer(run, model)
    teacher_variables = run.load("pretrain", "pretrain_variables", run.supernet) if distilled else None
    state = initial_state(setup, variables, run.mesh)
    state = _train(run, phase, setup, state, teacher_variables, lambda s: scorer(s.variables).miou)
    save_variables(run, f"{phase}_variables", state.variables)
    results = {"miou": scorer(state.variables).miou, "steps": run.spec.train.steps(phase)}
    run.workdir.append_history({"phase": phase, "step": results["steps"], "miou": results["miou"]})
    return results


def _train(
    run: Run, name: str, setup: StepSetup, state: TrainState, teacher: Any, score: Callable[[TrainState], float]
) -> TrainState:
    """Runs the loop of a phase to its end; the teacher's variables are used where the setup has a teacher."""
    steps = run.spec.train.steps(name)
    phase = Phase(name, steps, setup, lambda start: run.batches(name, start), teacher if setup.teacher else None, score)
    return train(phase, state, run.spec.train, run.workdir, run.mesh)


def initial_state(setup: StepSetup, variables: Any, mesh: Mesh, arch: ArchParams | None = None) -> TrainState:
    """A state before its first step, on every device."""
    arch_opt_state = setup.search.optimizer.init(arch) if setup.search else None
    controlled = setup.search is not None and setup.search.spec.beta_gain > 0
    state = TrainState(
        jnp.zeros((), jnp.int32),
        variables["params"],
        variables["batch_stats"],
        setup.optimizer.init(variables["params"]),
        arch,
        arch_opt_state,
        BetaControl.start() if controlled else None,
    )
    return put_replicated(state, mesh)


def save_variables(run: Run, name: str, variables: Any) -> None:
    """Keeps a network's variables, without optimizer states, as a checkpoint of its own."""
    checkpoints = Checkpoints(run.workdir.checkpoints(name))
    checkpoints.save(0, variables)
    checkpoints.close()


def most_probable(supernet: Network, arch: ArchParams) -> Architecture:
    """The architecture that the search would decide on if it ended now, the latency target aside."""
    paths = {name: jax.nn.one_hot(jnp.argmax(logits), len(logits)) for name, logits in arch.paths.items()}
    return Architecture(arch_params.width_masks(supernet, arch.widths), paths)


def automatic_width_rate(run: Run, latency: Latency, arch: ArchParams) -> float:
    """Step size with which β·L_reg alone moves a typical indicator by 0.5 in a fifth of the search.

    Slopes differ a thousandfold between full-resolution and 1/32 channels; typical is the slope of the average
    millisecond, Σs²/Σs, since the median indicator carries next to none of the latency.

    Raises:
      UserError: β is 0, so that no step size does that.
    """
    if run.spec.loss.beta <= 0:
        raise UserError("config.loss.beta is 0: a search without a latency term needs its config.search.width_rate set")
    kept = {group.name: jnp.float32(group.size) for group in run.supernet.searched_groups}
    slopes = jax.jit(jax.grad(latency.of_network))(kept, arch_params.path_probabilities(arch))
    per_indicator = np.concatenate([np.full(len(arch.widths[name]), float(slope)) for name, slope in slopes.items()])
    typical = np.square(per_indicator).sum() / per_indicator.sum()
    updates = run.spec.train.search_steps / run.spec.train.accumulate
    return float(0.5 / (run.spec.loss.beta * typical * updates / 5))


def _search_setup(run: Run, latency: Latency, variables: Any) -> tuple[TrainState, StepSetup]:
    spec, train_spec = run.spec.search, run.spec.train
    arch = arch_params.initialize(run.supernet, variables["params"], run.seed("search"))
    width_rate = spec.width_rate or automatic_width_rate(run, latency, arch)
    optimizer = architecture_optimizer(spec, width_rate, train_spec.search_steps, train_spec.accumulate)
    model = run.model(run.supernet)
    setup = StepSetup(
        model,
        weight_optimizer(train_spec, "search"),
        run.spec.loss,
        run.seed("search"),
        SearchSetup(spec, train_spec.search_steps, latency.of_network, latency.target_ms, optimizer, latency.unit),
        model if run.spec.loss.lam > 0 else None,
        run.augment,
    )
    return initial_state(setup, variables, run.mesh, arch), setup


def _cut_out(run: Run, decision: Decision, state: TrainState) -> Results:
    """Slices the decided network, recalibrates it, and scores supernet under masks, sliced, and recalibrated."""
    network = declare_spec(decision.spec)
    model = run.model(network)
    scorer = _scorer(run, model)
    variables = slice_variables(state.variables, run.supernet, network, decision.kept)
    sliced = scorer(put_replicated(variables, run.mesh)).miou
    variables = recalibrated(run, model, variables)
    save_variables(run, "searched", variables)
    decision.spec.save(run.workdir.architecture)
    return {
        "sliced_miou": sliced,
        "recalibrated_miou": scorer(variables).miou,
        "predicted_ms": decision.latency_ms,
        "warnings": list(decision.warnings),
        "paths": dict(decision.spec.paths),
        "widths": dict(decision.spec.widths),
        "steps": run.spec.train.search_steps,
    }


def recalibrated(run: Run, model: SegmentationNetwork, variables: Any) -> Any:
    """Re-estimates batch-norm statistics on training batches; weights stay."""
    everywhere = replicated(run.mesh)
    step = jax.jit(
        make_recalibration(model, run.augment),
        in_shardings=(everywhere, split(run.mesh)),
        out_shardings=everywhere,
        donate_argnums=0,
    )
    variables = put_replicated(variables, run.mesh)
    for batch in on_device(run.batches("finetune"), run.mesh, run.spec.train.recalibration_batches):
        variables = step(variables, batch)
    return variables


def _scorer(run: Run, model: SegmentationNetwork) -> Scorer:
    return make_scorer(model, run.dataset, run.spec.data, run.spec.train, run.mesh)
