"""This machine's GPU, or a driver in software: LiteRT's GPU accelerator on whatever adapter the Vulkan loader finds."""

import collections
import functools
import importlib.metadata
from collections.abc import Sequence
from typing import Any

from rtseg_jax.export.flatbuffer import packed
from rtseg_jax.export.gpu import GpuRun, Job, run_on_gpu
from rtseg_jax.latency.backend import WARMUP, FileBackend, Refused, Timing, timing_of


class HostGpu(FileBackend):
    """Wall time of a run with its input copied in and its output copied out, as an app sees it.

    Adapters that have half precision use it, as phones do.
    """

    name = "host_gpu"

    def __init__(self, runs: int = 15, warmup: int = WARMUP):
        self.runs, self.warmup = runs, warmup
        self._measured: dict[str, collections.deque[Timing]] = collections.defaultdict(collections.deque)

    def prepare(self, models: Sequence[bytes], rounds: int) -> None:
        """Measures all models in one process, in turns: starting one takes longer than most models."""
        for model, run in zip([*models] * rounds, self.run([*models] * rounds), strict=True):
            self._measured[self.digest(model)].append(self._timing(run))

    def measure(self, model: bytes) -> Timing:
        """Times one model on random input; raises `Refused` where the GPU does not take all of it."""
        prepared = self._measured[self.digest(model)]
        return prepared.popleft() if prepared else self._timing(self.run([model])[0])

    def run(self, models: Sequence[bytes]) -> list[GpuRun]:
        """Runs models one after the other; the first `warmup` times of each do not count."""
        runs = run_on_gpu([Job(model, repeats=self.warmup + self.runs, full_precision=False) for model in models])
        for run in runs:
            if not run.verdict.accepted:
                reasons = run.verdict.error or "; ".join(run.verdict.refused) or "it was cut into parts"
                raise Refused(f"host_gpu: the GPU accelerator does not take the whole model: {reasons}")
        return runs

    def card(self) -> dict[str, Any]:
        """Says what a figure means."""
        return {
            "device": _adapter(),
            "backend": self.name,
            "runtime": f"LiteRT {importlib.metadata.version('ai-edge-litert')}, WebGPU",
            "precision": self.numbers("float16 where the adapter has it, else float32"),
            "threads": 1,
            "warmup": self.warmup,
            "runs": self.runs,
            "statistic": "minimum",
            "clock": "wall time",
        }

    def _timing(self, run: GpuRun) -> Timing:
        return timing_of([ms / 1e3 for ms in run.milliseconds[self.warmup :]])


@functools.cache
def _adapter() -> str:
    """The adapter's name, which stands in what the runtime says of any file."""
    return run_on_gpu([Job(_smallest_model())])[0].verdict.adapter


def _smallest_model() -> bytes:
    """A file of one ADD of one number to itself."""
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str) -> Any:
        result = schema.TensorT()
        result.name, result.shape, result.type, result.buffer = name, [1, 1, 1, 1], schema.TensorType.FLOAT32, 0
        return result

    code, add, graph, model = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = *[schema.BuiltinOperator.ADD] * 2, 1
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 0], [1]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [tensor("x"), tensor("y")], [add], [0], [1]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return packed(model)
