"""The arithmetic of the study and of fronts, on made-up rows; their trainings are those of `train_and_evaluate`."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.study import by_magnitude, margin, markdown, ranked_alone
from rtseg_jax.architecture import declare
from rtseg_jax.errors import UserError
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training import front
from rtseg_jax.training.workdir import Workdir
from rtseg_jax.visualization.pareto_plot import plot_front
from rtseg_jax.zoo import RTSeg


def row(arm, seed, miou, target=0.25):
    return {"arm": arm, "target": target, "seed": seed, "miou": miou, "steps": 10}


ROWS = [
    *(row("uniform", seed, miou) for seed, miou in enumerate((0.40, 0.42, 0.41))),
    *(row("quarter", seed, miou) for seed, miou in enumerate((0.42, 0.41, 0.43))),
    *(row("search", seed, miou) for seed, miou in enumerate((0.43, 0.43, 0.44))),
    row("search", 3, 0.99),  # has no partners yet
    row("uniform", 0, 0.30, target=0.1),
]


def test_margin_is_paired_over_the_better_uniform_arm():
    found = margin(ROWS, 0.25)
    assert found.over == "quarter"  # a mean of 42 against 41
    assert found.margins == pytest.approx((1.0, 2.0, 1.0))
    # Deviation 0.57735, over the root of three 1/3; Student's t of two degrees at 97.5 % is 4.3027.
    assert (found.mean, found.low, found.high) == pytest.approx((4 / 3, 4 / 3 - 1.43422, 4 / 3 + 1.43422), abs=1e-4)
    assert margin(ROWS, 0.1) is None


def test_report_of_the_study():
    lines = markdown(ROWS, 10.0).splitlines()
    assert lines[0] == "| arm | 0.1 of 10.00 ms | 0.25 of 10.00 ms |"
    assert "| uniform | 30.00 (1) | 41.00 ± 1.00 (3) |" in lines
    assert lines[-1] == "- 0.25: search − quarter = +1.33 points, 95 % interval [-0.10, +2.77] over 3 seeds"


def test_channels_alone_by_hand():
    found = ranked_alone(np.asarray([4.0, 1.0, 9.0, 16.0, 1.0]), np.asarray([1.0, 1.0, 1.0, 0.0, 1.0]))
    assert found.order.tolist() == [2, 0, 1, 4]  # the fourth is gone already
    assert found.totals.tolist() == [0.0, 9.0, 13.0, 14.0, 15.0]


def test_magnitudes_are_those_of_the_batch_norms():
    supernet = declare(RTSeg(4, width=0.25, segment_blocks=(0, 0, 1), expansion=1, mlp_ratio=1, head_width=8))
    variables = initial_variables(SegmentationNetwork(supernet), 0)
    scale = np.ones(16, np.float32)
    scale[:3] = -3.0, 0.5, 2.0
    variables["params"]["detail_1_1"]["conv"]["norm"]["scale"] = scale
    state = SimpleNamespace(variables=variables, arch=initial_worth(supernet, 1))
    found = by_magnitude(SimpleNamespace(run=SimpleNamespace(supernet=supernet)), state)
    assert set(found) == {group.name for group in supernet.searched_groups}
    assert found["detail_1_1"].order.tolist() == [0, 2, *range(3, 16), 1]
    assert found["detail_1_1"].totals[[1, 2, 15, 16]].tolist() == [9.0, 13.0, 26.0, 26.25]


def network(name, miou, ms):
    return {"name": name, "miou": miou, "parameters": 1_500_000, "gmacs": 0.25, "latency_ms": ms}


def test_front_shows_the_networks_of_every_target(tmp_path):
    workdir = Workdir(tmp_path / "20ms")
    table = [network("supernet", None, 80.0), network("searched", 0.5, 19.8), network("uniform", 0.45, 19.5)]
    workdir.choose({"best": "searched", "among": ["searched", "uniform"]})
    workdir.finish("evaluate", {"table": [*table, network("bisenetv2", None, 150.0)]})
    rows = front.rows_of(20.0, workdir)
    assert [(r["name"], r["handed_over"]) for r in rows] == [
        ("searched", True),
        ("uniform", False),
        ("bisenetv2", False),
    ]
    assert front.markdown(rows).splitlines()[2:] == [
        "| 20 | **Searched** | 50.0 | 1.500 | 0.250 | 19.80 |",
        "| 20 | Uniform scaling | 45.0 | 1.500 | 0.250 | 19.50 |",
        "| 20 | BiSeNetV2 | – | 1.500 | 0.250 | 150.00 |",
    ]
    (panel,) = plot_front(rows).axes
    searched, uniform, yardstick = (line.get_xydata().tolist() for line in panel.get_lines())
    assert (searched, uniform) == ([[19.8, 50.0]], [[19.5, 45.0]])
    assert yardstick == [[150.0, 0.0], [150.0, 1.0]]  # its time only
    assert [text.get_text() for text in panel.texts] == ["BiSeNetV2\n150 ms", "Searched", "Uniform scaling"]


def test_targets_rise_and_are_latencies():
    assert front.targets_of(["30", "20", "20"]) == [20.0, 30.0]
    for wrong in (["20ms"], ["0"], []):
        with pytest.raises(UserError, match="--targets is"):
            front.targets_of(wrong)


def test_a_new_choice_undoes_what_was_scored_and_exported_of_the_old_one(tmp_path):
    workdir = Workdir(tmp_path)
    for phase in ("finetune", "evaluate", "export"):
        workdir.finish(phase, {"seconds": 1.0})
    workdir.choose({"best": "uniform", "among": {"searched": "a", "uniform": "b"}})
    assert [phase for phase in ("finetune", "evaluate", "export") if workdir.finished(phase)] == ["finetune"]
