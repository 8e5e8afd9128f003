"""The search phase, by either rule: train, decide, cut out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.architecture import Network, declare_spec
from rtseg_jax.errors import UserError
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.search import arch_params
from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.search.decide import Decision, decide
from rtseg_jax.search.slicing import slice_like_params, slice_variables
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.checkpoints import save_tree
from rtseg_jax.training.deciding import Decider
from rtseg_jax.training.optimizers import architecture_optimizer, weight_optimizer
from rtseg_jax.training.phases import Results, initial_state, train_phase
from rtseg_jax.training.published_search import PublishedSearch
from rtseg_jax.training.run import Latency, Run, log_warnings
from rtseg_jax.training.scoring import make_recalibration, make_scorer
from rtseg_jax.training.sharding import on_device, put_replicated, replicated, split
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup
from rtseg_jax.training.worth_search import WorthSearch


def search(run: Run, latency: Latency) -> Results:
    """Trains weights and architecture together, decides, and slices; raises `UserError` without a supernet."""
    variables = run.load("pretrain", "pretrain_variables", run.supernet)
    by = published_search if run.spec.search.rule == "published" else worth_search
    state, decision = by(run, latency, variables)
    log_warnings(decision.warnings)
    return _cut_out(run, decision, state) | {"target_ms": latency.target_ms}


def worth_search(run: Run, latency: Latency, variables: Any) -> tuple[TrainState, Decision]:
    """Rounds of training and deciding; what a channel is worth is learned from the main loss alone."""
    steps, rounds = run.spec.train.search_steps, run.spec.search.rounds
    decider = Decider.start(run, latency)
    setup = StepSetup(
        run.model(run.supernet),
        weight_optimizer(run.spec.train, "search", run.continues("search")),
        decider.loss,
        run.seed("search"),
        WorthSearch(latency.of_network, latency.target_ms, latency.unit),
        augment=run.augment,
    )
    momentum = run.momentum("search", setup.optimizer, variables)
    state = initial_state(setup, variables, run.mesh, decider.fresh(), momentum)
    scorer = make_scorer(setup.model, run.dataset, run.spec.data, run.spec.train, run.mesh)
    state = train_phase(
        run,
        "search",
        setup,
        state,
        None,
        lambda s: scorer(s.variables, decider.most_probable(s.arch)).miou,
        (steps // rounds, decider.after),
    )
    return state, decider.rounds.decision(run.spec.network, state.arch, latency.unit)


def published_search(run: Run, latency: Latency, variables: Any) -> tuple[TrainState, Decision]:
    """Straight-through widths and Gumbel paths, decided once at the end."""
    spec, train_spec = run.spec.search, run.spec.train
    arch = arch_params.initialize(run.supernet, variables["params"], run.seed("search"))
    width_rate = spec.width_rate or automatic_width_rate(run, latency, arch)
    optimizer = architecture_optimizer(spec, width_rate, train_spec.search_steps, train_spec.accumulate)
    model = run.model(run.supernet)
    rule = PublishedSearch(
        spec, train_spec.search_steps, latency.of_network, latency.target_ms, optimizer, run.spec.loss, latency.unit
    )
    setup = StepSetup(
        model,
        weight_optimizer(train_spec, "search", run.continues("search")),
        run.spec.loss,
        run.seed("search"),
        rule,
        model if run.spec.loss.lam > 0 else None,
        run.augment,
    )
    control = BetaControl.start() if spec.beta_gain > 0 else None
    momentum = run.momentum("search", setup.optimizer, variables)
    state = initial_state(setup, variables, run.mesh, arch, momentum, optimizer.init(arch), control)
    scorer = make_scorer(model, run.dataset, run.spec.data, train_spec, run.mesh)
    state = train_phase(
        run, "search", setup, state, variables, lambda s: scorer(s.variables, most_probable(run.supernet, s.arch)).miou
    )
    return state, decide(
        run.spec.network, run.supernet, state.arch, latency.of_decision, latency.target_ms, latency.unit
    )


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


def _cut_out(run: Run, decision: Decision, state: TrainState) -> Results:
    """Slices weights and momentum; where fine-tuning starts anew, batch norm is recalibrated first."""
    network = declare_spec(decision.spec)
    model = run.model(network)
    scorer = make_scorer(model, run.dataset, run.spec.data, run.spec.train, run.mesh)
    variables = slice_variables(state.variables, run.supernet, network, decision.kept)
    results: Results = {"sliced_miou": scorer(put_replicated(variables, run.mesh)).miou}
    if run.spec.train.restarts:
        variables = recalibrated(run, model, variables)
        results["recalibrated_miou"] = scorer(variables).miou
    momentum = slice_like_params(state.opt_state, state.params, run.supernet, network, decision.kept)
    save_tree(run.workdir.checkpoints("searched_variables"), variables)
    save_tree(run.workdir.checkpoints("search_momentum"), momentum)
    decision.spec.save(run.workdir.searched)
    return results | {
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
