"""The training phases of networks whose architecture is fixed: supernet, searched network, uniform baseline."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rtseg_jax.architecture import ArchSpec, Network, declare_spec
from rtseg_jax.architecture.guidance import with_detail_head
from rtseg_jax.config import RunSpec
from rtseg_jax.export.spec import FLOAT_ATTENTION
from rtseg_jax.models.rounding import Integers
from rtseg_jax.models.variables import grafted
from rtseg_jax.search.decide import landing_warnings
from rtseg_jax.search.uniform import uniform_spec, whole_spec
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training import loop
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.checkpoints import save_tree
from rtseg_jax.training.loop import Phase
from rtseg_jax.training.optimizers import fresh_momentum, weight_optimizer
from rtseg_jax.training.placement import Placement
from rtseg_jax.training.processes import by_first, say, told
from rtseg_jax.training.run import Costs, Run, log_warnings
from rtseg_jax.training.scoring import make_scorer
from rtseg_jax.training.specs import ROUNDED
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import SearchRule, StepSetup
from rtseg_jax.training.teaching import named_teacher, supernet_teacher
from rtseg_jax.training.worth_search import WorthSearch

Results = dict[str, Any]


def train(run: Run) -> Results:
    """Trains a network without choices, for as many steps as a search and its network have together."""
    variables = run.initial_variables(run.supernet, run.seed("train"))
    results = fit(run, "train", run.supernet, variables)
    by_first(whole_spec(run.spec.network, run.supernet).save, run.workdir.trained, run.workdir.provenance())
    return results


def pretrain(run: Run, costs: Costs) -> Results:
    """Trains the supernet with every mask 1.

    By the published rule every mixed block averages its operators; by worth each step trains one sampled path.
    """
    variables = run.initial_variables(run.supernet, run.seed("pretrain"))
    if run.spec.search.rule == "published":
        return fit(run, "pretrain", run.supernet, variables)
    rule = WorthSearch(costs.of_network, costs.target)
    return fit(run, "pretrain", run.supernet, variables, rule=rule)


def finetune(run: Run) -> Results:
    """Trains the searched network, from its sliced weights and momentum where there are some."""
    arch = run.decided()
    network = declare_spec(arch)
    if run.has("search"):
        variables = run.load("search", "searched_variables", network)
    else:
        say("finetune: an architecture without weights; training it from scratch")
        variables = run.initial_variables(network, run.seed("finetune"))
    # An architecture from another run belongs to this one from here on.
    by_first(arch.save, run.workdir.searched, run.workdir.provenance())
    return fit(run, "finetune", network, variables, teacher=run.has("pretrain"))


def uniform(run: Run, costs: Costs) -> Results:
    """Trains the strongest uniform scaling to the target, for as long as the searched network had."""
    form = run.spec.search.yardstick
    arch = uniform_spec(run.spec.network, run.supernet, costs.of_decision, costs.target.cost, form)
    arch = ArchSpec.from_json(told(arch.to_json))
    by_first(arch.save, run.workdir.uniform, run.workdir.provenance())
    predicted = costs.of_decision(arch.widths, arch.paths)
    log_warnings(landing_warnings(predicted, costs.target, "the uniformly scaled network"))
    network = declare_spec(arch)
    results = fit(run, "uniform", network, run.initial_variables(network, run.seed("uniform")))
    return results | {"predicted_cost": predicted} | costs.target.to_json()


def fit(
    run: Run, phase: str, network: Network, variables: Any, *, teacher: bool = False, rule: SearchRule | None = None
) -> Results:
    """Trains a network for the length of `phase`; its score, where it has one, is the result."""
    whole = phase != "pretrain"  # a supernet is neither guided nor taught
    loss = run.spec.loss if whole else run.spec.loss.of_supernet
    taught_by = named_teacher(run) if whole else None
    if taught_by is None and teacher and loss.lam > 0:
        taught_by = supernet_teacher(run)
    trained = with_detail_head(network, loss.detail_at) if loss.detail > 0 else network
    model = run.model(trained)
    setup = StepSetup(
        model,
        weight_optimizer(run.spec.train, phase, run.continues(phase)),
        loss,
        run.seed(phase),
        search=rule,
        teacher=None if taught_by is None else run.model(taught_by.network),
        augment=run.augment,
        teacher_heads=taught_by is not None and taught_by.heads,
        rounding=rounding(run.spec, phase),
    )
    scorer = make_scorer(run.model(network), run.dataset, run.spec.data, run.spec.train, run.placement)
    arch = None if rule is None else initial_worth(network, run.spec.search.samples)
    momentum = run.momentum(phase, setup.optimizer, variables)
    if trained.detail is not None:  # its weights are fresh, those of the network stay
        variables = grafted(run.initial_variables(trained, run.seed(phase)), variables)
        momentum = None if momentum is None else grafted(fresh_momentum(setup.optimizer, variables["params"]), momentum)
    state = initial_state(setup, variables, run.placement, arch, momentum)
    teacher_variables = None if taught_by is None else taught_by.variables
    # Of a supernet that trains one path at a time no path is worth a score yet.
    score = None if rule is not None else lambda s: scorer(s.variables).miou
    state = train_phase(run, phase, setup, state, teacher_variables, score)
    origin = run.workdir.provenance()
    own = own_variables(state.variables, network)
    save_tree(run.workdir.checkpoints(f"{phase}_variables"), own, {"provenance": origin})
    if phase == "pretrain":  # the search goes on from it
        save_tree(run.workdir.checkpoints("pretrain_momentum"), state.opt_state, {"provenance": origin})
    steps = run.spec.train.steps(phase)
    if score is None:
        return {"steps": steps}
    miou = score(state)
    by_first(run.workdir.append_history, {"phase": phase, "step": steps, "miou": miou})
    return {"miou": miou, "steps": steps}


def rounding(spec: RunSpec, phase: str) -> tuple[int, Integers] | None:
    """From which step of a phase on, counted from 0, and how its network rounds as the file that ships; None: never."""
    if phase not in ROUNDED or not spec.train.rounded_steps:
        return None
    return spec.train.steps(phase) - spec.train.rounded_steps, Integers(spec.latency.precision != FLOAT_ATTENTION)


def own_variables(variables: Any, network: Network) -> Any:
    """What belongs to the network's own blocks, without the head that guided it."""
    names = {block.name for block in network.every_block}
    return {kind: {name: tree[name] for name in tree if name in names} for kind, tree in variables.items()}


def train_phase(
    run: Run,
    name: str,
    setup: StepSetup,
    state: TrainState,
    teacher: Any,
    score: Callable[[TrainState], float] | None,
    decide: tuple[int, Callable[[int, TrainState], TrainState]] | None = None,
) -> TrainState:
    """Runs the loop of a phase to its end; the teacher's variables are used where the setup has a teacher."""
    steps = run.spec.train.steps(name)
    phase = Phase(
        name,
        steps,
        setup,
        lambda start: run.batches(name, start),
        teacher if setup.teacher else None,
        score,
        decide,
        run.spec.profile_steps,
    )
    return loop.train(phase, state, run.spec.train, run.workdir, run.placement, run.notice)


def initial_state(
    setup: StepSetup,
    variables: Any,
    placement: Placement,
    arch: Any = None,
    opt_state: Any = None,
    arch_opt_state: Any = None,
    beta_control: BetaControl | None = None,
) -> TrainState:
    """A state before its first step, on the devices; momentum starts at zero where `opt_state` is None."""
    opt_state = fresh_momentum(setup.optimizer, variables["params"]) if opt_state is None else opt_state
    state = TrainState(
        jnp.zeros((), jnp.int32),
        variables["params"],
        variables["batch_stats"],
        opt_state,
        arch,
        arch_opt_state,
        beta_control,
    )
    return placement.put(state)
