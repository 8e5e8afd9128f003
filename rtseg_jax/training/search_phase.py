"""The search phase, by either rule: train, decide, cut out."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rtseg_jax.architecture import ArchSpec, Network, declare_spec
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.search import arch_params
from rtseg_jax.search.arch_params import ArchParams
from rtseg_jax.search.cost import NetworkCost
from rtseg_jax.search.decide import Decision, decide
from rtseg_jax.search.slicing import slice_like_params, slice_variables
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.checkpoints import save_tree
from rtseg_jax.training.deciding import Decider
from rtseg_jax.training.optimizers import Rates, architecture_optimizer, weight_optimizer
from rtseg_jax.training.phases import Results, initial_state, train_phase
from rtseg_jax.training.processes import by_first, told
from rtseg_jax.training.published_search import LiteralSearch, PublishedSearch
from rtseg_jax.training.run import Costs, Run, log_warnings
from rtseg_jax.training.scoring import make_recalibration, make_scorer
from rtseg_jax.training.specs import SearchSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup
from rtseg_jax.training.worth_search import WorthSearch

LOUDEST = 4.0  # times β: a channel that costs next to nothing has a huge worth per cost, most of it noise


def search(run: Run, costs: Costs) -> Results:
    """Trains weights and architecture together, decides, and slices; raises `UserError` without a supernet."""
    variables = run.load("pretrain", "pretrain_variables", run.supernet)
    by = published_search if run.spec.search.rule == "published" else worth_search
    state, decision = by(run, costs, variables)
    decision = _of_all(decision)
    log_warnings(decision.warnings)
    return _cut_out(run, decision, state) | costs.target.to_json()


def _of_all(decision: Decision) -> Decision:
    """The decision of the first process: in each of them it is arithmetic of its own host."""
    kept = {name: indices.tolist() for name, indices in decision.kept.items()}
    spec, kept, cost, warnings = told(
        lambda: (decision.spec.to_json(), kept, float(decision.cost), list(decision.warnings))
    )
    arrays = {name: np.asarray(kept[name], indices.dtype) for name, indices in decision.kept.items()}
    return Decision(ArchSpec.from_json(spec), arrays, cost, tuple(warnings))


def worth_search(run: Run, costs: Costs, variables: Any) -> tuple[TrainState, Decision]:
    """Rounds of training and deciding; what a channel is worth is learned from the main loss alone."""
    steps, rounds = run.spec.train.search_steps, run.spec.search.rounds
    decider = Decider.start(run, costs)
    setup = StepSetup(
        run.model(run.supernet),
        weight_optimizer(run.spec.train, "search", run.continues("search")),
        run.spec.loss.of_supernet,
        run.seed("search"),
        WorthSearch(costs.of_network, costs.target),
        augment=run.augment,
        main_loss_only=True,
    )
    momentum = run.momentum("search", setup.optimizer, variables)
    state = initial_state(
        setup, variables, run.placement, initial_worth(run.supernet, run.spec.search.samples), momentum
    )
    scorer = make_scorer(setup.model, run.dataset, run.spec.data, run.spec.train, run.placement)
    state = train_phase(
        run,
        "search",
        setup,
        state,
        None,
        lambda s: scorer(s.variables, decider.most_probable(s.arch)).miou,
        (steps // rounds, decider.after),
    )
    return state, decider.rounds.decision(run.spec.network, state.arch)


def published_search(run: Run, costs: Costs, variables: Any) -> tuple[TrainState, Decision]:
    """Straight-through widths and Gumbel paths, decided once at the end; mended, or `search.literal`."""
    spec, train_spec, loss = run.spec.search, run.spec.train, run.spec.loss.of_supernet
    arch = arch_params.initialize(run.supernet, variables["params"], run.seed("search"))
    full = {group.name: jnp.float32(group.size) for group in run.supernet.searched_groups}
    start = full, arch_params.path_probabilities(arch)
    updates = train_spec.search_steps / train_spec.accumulate
    rates = automatic_rates(spec, loss.beta, updates, costs.of_network, *start)
    optimizer = architecture_optimizer(spec, rates, train_spec.search_steps, train_spec.accumulate)
    model = run.model(run.supernet)
    common = spec, train_spec.search_steps, costs.of_network, costs.target, optimizer
    rule: LiteralSearch
    if spec.literal:
        rule, control = LiteralSearch(*common), None
    else:
        start_cost = float(jax.jit(costs.of_network)(*start))
        rule, control = PublishedSearch(*common, loss=loss, start_cost=start_cost), BetaControl.start()
    setup = StepSetup(
        model,
        weight_optimizer(train_spec, "search", run.continues("search")),
        loss,
        run.seed("search"),
        rule,
        model if loss.lam > 0 else None,
        run.augment,
        main_loss_only=not spec.literal,
        teacher_heads=True,
    )
    momentum = run.momentum("search", setup.optimizer, variables)
    state = initial_state(setup, variables, run.placement, arch, momentum, optimizer.init(arch), control)
    scorer = make_scorer(model, run.dataset, run.spec.data, train_spec, run.placement)
    state = train_phase(
        run, "search", setup, state, variables, lambda s: scorer(s.variables, most_probable(run.supernet, s.arch)).miou
    )
    return state, decide(run.spec.network, run.supernet, state.arch, costs.of_decision, costs.target)


def most_probable(supernet: Network, arch: ArchParams) -> Architecture:
    """The architecture that the search would decide on if it ended now, the target aside."""
    paths = {name: jax.nn.one_hot(jnp.argmax(logits), len(logits)) for name, logits in arch.paths.items()}
    return Architecture(arch_params.width_masks(supernet, arch.widths), paths)


def automatic_rates(
    spec: SearchSpec,
    beta: float,
    updates: float,
    cost: NetworkCost,
    kept: Mapping[str, Float[Array, ""]],
    paths: Mapping[str, Float[Array, " _"]],
) -> Rates:
    """Step sizes: those of the config where it has some, else such that cost alone, at the price β, decides.

    In a fifth of the search it moves a typical indicator by 0.5, and in a typical mixed block the costliest path's
    logit from the cheapest one's by 1. Where gradients are divided by what they cost, every group and block is typical.
    `search.literal` has one rate for slopes that differ a thousandfold between full-resolution and 1/32 channels:
    typical is then the slope of the average unit of cost, Σs²/Σs, since the median indicator costs next to nothing.

    Args:
      spec: rates of the config; 0: automatic.
      beta: β; 0 only where the config has both rates.
      updates: of the architecture in the search.
      cost: predicted, of a network.
      kept: kept counts at the start.
      paths: path probabilities at the start.
    """
    if not spec.literal:
        slope, spread, limit = 1.0, 1.0, LOUDEST * beta
    else:
        slopes, costs = jax.jit(jax.grad(cost, argnums=(0, 1)))(kept, paths)
        slope = _typical(np.concatenate([np.full(round(float(kept[name])), float(slopes[name])) for name in kept]))
        spread, limit = _typical(np.asarray([np.ptp(each) for each in costs.values()])), math.inf
    # Even probabilities p of n paths: their logits' gradients differ by β·(range of costs) / n.
    choices = max((len(probabilities) for probabilities in paths.values()), default=1)
    pull = beta * updates / 5
    return Rates(spec.width_rate or 0.5 / (pull * slope), spec.path_rate or choices / (pull * spread), limit)


def _typical(slopes: np.ndarray) -> float:
    """Of the average unit of cost; 1 where nothing costs anything."""
    return float(np.square(slopes).sum() / slopes.sum()) if slopes.any() else 1.0


def _cut_out(run: Run, decision: Decision, state: TrainState) -> Results:
    """Slices weights and momentum; where fine-tuning starts anew, batch norm is recalibrated first."""
    network = declare_spec(decision.spec)
    model = run.model(network)
    scorer = make_scorer(model, run.dataset, run.spec.data, run.spec.train, run.placement)
    state = jax.device_get(run.placement.whole(state))  # cut on the host, by every process alike
    variables: Any = slice_variables(state.variables, run.supernet, network, decision.kept)
    results: Results = {"sliced_miou": scorer(run.placement.put(variables)).miou}
    if run.spec.train.restarts:
        variables = recalibrated(run, model, variables)
        results["recalibrated_miou"] = scorer(variables).miou
    momentum = slice_like_params(state.opt_state, state.params, run.supernet, network, decision.kept)
    origin = run.workdir.provenance()
    save_tree(run.workdir.checkpoints("searched_variables"), variables, {"provenance": origin})
    save_tree(run.workdir.checkpoints("search_momentum"), momentum, {"provenance": origin})
    by_first(decision.spec.save, run.workdir.searched, origin)
    return results | {
        "predicted_cost": decision.cost,
        "warnings": list(decision.warnings),
        "paths": dict(decision.spec.paths),
        "widths": dict(decision.spec.widths),
        "steps": run.spec.train.search_steps,
    }


def recalibrated(run: Run, model: SegmentationNetwork, variables: Any) -> Any:
    """Re-estimates batch-norm statistics on training batches; weights stay."""
    variables = run.placement.put(variables)
    step = jax.jit(
        make_recalibration(model, run.placement, run.augment),
        out_shardings=run.placement.of_state(variables),
        donate_argnums=0,
    )
    for batch in run.placement.batches(run.batches("finetune"), run.spec.train.recalibration_batches):
        variables = step(variables, batch)
    return variables
