"""The GPU accelerator: reading its verdict, and, where the machine has an adapter, the verdict itself."""

import os
from pathlib import Path

import pytest
from helpers import processes

from rtseg_jax.export import gpu

ROOT = Path(__file__).parents[2]

TAKEN = """I0000 00:00:1795231250.123 1 environment.cc:532] Selected adapter: Adreno 660, backend=Vulkan
I0000 00:00:1795231251.050 1 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
"""
REFUSED = """I0000 00:00:1795231250.123 1 environment.cc:532] Selected adapter: Adreno 660, backend=Vulkan
ERROR: Following operations are not supported by GPU delegate:
RESHAPE: Tensor "a" has bad input dims size: 6.
STABLEHLO_REDUCE_WINDOW: Operation is not supported.
1 operations will run on the GPU, and the remaining 2 operations will run on the CPU.
I0000 00:00:1795231251.287 1 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
I0000 00:00:1795231251.343 1 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
"""


def test_a_graph_in_one_piece_is_accepted():
    verdict = gpu.parse_log(TAKEN)
    assert verdict == gpu.Verdict("Adreno 660, backend=Vulkan", 1, ())
    assert verdict.accepted


def test_refused_operators_are_listed_with_their_reasons():
    verdict = gpu.parse_log(REFUSED)
    assert verdict.refused == (
        'RESHAPE: Tensor "a" has bad input dims size: 6.',
        "STABLEHLO_REDUCE_WINDOW: Operation is not supported.",
    )
    assert verdict.partitions == 2
    assert not verdict.accepted


def test_two_partitions_are_not_accepted_even_if_nothing_is_refused():
    assert not gpu.Verdict("any", 2, ()).accepted
    assert not gpu.Verdict("any", 1, (), error="crashed").accepted


def test_a_missing_adapter_is_told_from_a_refusal():
    assert gpu.has_no_adapter("Failed to initialize WebGPU environment: INTERNAL: No adapters found")
    assert not gpu.has_no_adapter(REFUSED)


def test_a_machine_without_adapter_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "SOFTWARE_ADAPTER", tmp_path)
    monkeypatch.setattr(gpu, "_run", lambda jobs, environment: None)
    with pytest.raises(gpu.NoAdapter, match=r"launch/swiftshader\.sh"):
        gpu.run_on_gpu([])


def test_the_driver_in_software_is_tried_after_the_machines_own(monkeypatch, tmp_path):
    (tmp_path / "vk_swiftshader_icd.json").touch()
    monkeypatch.setattr(gpu, "SOFTWARE_ADAPTER", tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    tried = []
    monkeypatch.setattr(gpu, "_run", lambda jobs, environment: tried.append(environment))
    with pytest.raises(gpu.NoAdapter):
        gpu.run_on_gpu([])
    assert tried[0] == dict(os.environ)
    assert tried[1]["VK_ICD_FILENAMES"] == str(tmp_path / "vk_swiftshader_icd.json")
    assert tried[1]["LD_LIBRARY_PATH"] == f"{tmp_path}:/mine"


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Findings of `gating.py`."""
    folder = tmp_path_factory.mktemp("gated")
    processes.run(Path(__file__).with_name("gating.py"), folder, PYTHONPATH=str(ROOT))
    found = processes.findings(folder)
    if found["untested"]:
        pytest.skip(found["untested"])
    return found


@pytest.mark.xdist_group("gpu")
@pytest.mark.parametrize("number", range(6))
def test_the_delegate_takes_what_the_search_may_decide_on(gated: dict, number: int):
    outcome = gated["outcomes"][number]
    assert outcome["failures"] == []
    assert outcome["difference"] <= 1e-4


@pytest.mark.xdist_group("gpu")
def test_the_delegate_takes_what_the_other_converter_writes(gated: dict):
    (outcome,) = gated["litert"]
    assert outcome["failures"] == []
    assert outcome["network"] == gated["outcomes"][1]["network"]


@pytest.mark.xdist_group("gpu")
def test_a_reshape_in_six_dimensions_does_not_pass(gated: dict):
    failures = gated["bad"]["failures"]
    assert any("bad input dims size: 6" in failure for failure in failures)
    assert any(failure.startswith("rank over 4") for failure in failures)


@pytest.mark.xdist_group("gpu")
def test_an_argmax_does_not_pass(gated: dict):
    assert "holds an ARG_MAX" in gated["argmax"]["failures"]


@pytest.mark.xdist_group("gpu")
def test_wrong_numbers_do_not_pass(gated: dict):
    (failure,) = gated["wrong"]["failures"]
    assert failure.startswith("differs from JAX by")
