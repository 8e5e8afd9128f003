"""A run that searches under a budget: nothing is measured to set its target, and what is decided keeps to it."""

import pytest
from shrinking import load_config, shrink

from rtseg_jax.architecture import counts, declare_spec
from rtseg_jax.config import run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.search import arch_params
from rtseg_jax.search.cost import Target
from rtseg_jax.search.decide import decide
from rtseg_jax.search.uniform import supernet_spec, uniform_spec
from rtseg_jax.training import outcome
from rtseg_jax.training.run import Run
from rtseg_jax.training.workdir import Workdir

SIZE = (32, 64)


@pytest.fixture
def start(tmp_path):
    def started(budget: str) -> Run:
        config = shrink(load_config("quickstart"), tmp_path / "no_such_predictor.json")
        config.budget = budget
        return Run.start(run_spec(config), Workdir(tmp_path))

    return started


def parameters_or_gmacs(arch, kind):
    network = declare_spec(arch)
    return counts.parameters(network) / 1e6 if kind == "mparams" else counts.macs(network, SIZE) / 1e9


@pytest.mark.parametrize("kind", ["gmacs", "mparams"])
def test_decisions_keep_to_the_budget(start, kind):
    free = start("")
    full = parameters_or_gmacs(supernet_spec(free.spec.network, free.supernet), kind)
    run = start(f"{kind}:{0.4 * full}")
    cost = run.costs()
    assert cost.target.cost == pytest.approx(0.4 * full)
    variables = run.initial_variables(run.supernet, 0)
    arch = arch_params.initialize(run.supernet, variables["params"], 0)
    decided = decide(run.spec.network, run.supernet, arch, cost.of_decision, cost.target).spec
    assert 0.97 * cost.target.cost <= parameters_or_gmacs(decided, kind) <= cost.target.cost
    scaled = uniform_spec(run.spec.network, run.supernet, cost.of_decision, cost.target.cost)
    assert parameters_or_gmacs(scaled, kind) <= cost.target.cost
    assert cost.of_arch(decided) is None
    assert not run.workdir.latency.exists()


def test_a_budget_out_of_reach_names_the_field_and_the_range(start):
    with pytest.raises(
        UserError, match=r"target of 1000\.000 GMACs is out of reach: .*; set config\.budget within that"
    ):
        start("gmacs:1000").costs()


def test_the_table_has_no_column_of_predictions(capsys):
    row = {
        "name": "searched",
        "miou": 0.5,
        "parameters": 10**6,
        "gmacs": 0.5,
        "predicted_cost": None,
        "latency_ms": 2.0,
    }
    outcome.print_table([row], Target(0.5, "GMACs"))
    printed = capsys.readouterr().out
    assert "Target 0.50 GMACs" in printed
    assert "predicted" not in printed


def test_the_table_tells_how_sure_a_prediction_is(capsys):
    row = {"name": "searched", "miou": 0.5, "parameters": 10**6, "gmacs": 0.5, "latency_ms": 2.0}
    outcome.print_table([row | {"predicted_cost": 2.5, "predicted_interval": [2.4, 2.6]}], Target(2.6))
    assert "2.50 ±4 %" in capsys.readouterr().out
