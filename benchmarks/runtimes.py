"""Networks loaded into runtimes, each in a process of its own.

A process holds one network in one runtime, so that none sees the threads, the memory or the settings of another, and
processor time is that of the network alone. Every network takes a picture [1 h w 3] with values 0..255 and gives
logits [1 h w k]; PyTorch and ONNX Runtime get and give them channels first.
"""

import functools
import io
import logging
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

Loaded = tuple[Callable[[], Any], Callable[[Any], np.ndarray]]
"""One forward pass, and what turns its result into logits [1 h w k]."""

LOADED: dict[str, Loaded] = {}  # what this process holds


class Seconds(NamedTuple):
    """Of one forward pass."""

    wall: float
    processor: float


class Worker:
    """A process with one network."""

    def __init__(self, load: Callable[..., Loaded], *arguments: Any):
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._load = functools.partial(load, *arguments)

    def start(self) -> np.ndarray:
        """Loads the network; returns its logits."""
        return self._pool.submit(_load, self._load).result()

    def time(self, runs: int) -> list[Seconds]:
        """Times forward passes, after one that fills caches again."""
        return self._pool.submit(_time, runs).result()

    def stop(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function that leaves nothing behind in this process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def set_threads(threads: int) -> None:
    """Environment of the processes to come; runtimes that take a number are also told by their own means."""
    number = str(threads)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):  # NPROC sizes the thread pool of XLA
        os.environ[name] = number
    eigen = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
    os.environ.update(JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="2", XLA_FLAGS=eigen)


def load_litert(model: bytes, picture: np.ndarray, threads: int) -> Loaded:
    """LiteRT with XNNPACK."""
    from rtseg_jax.export.interpreter import load_interpreter

    interpreter = load_interpreter(model, threads)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    output = interpreter.get_output_details()[0]["index"]
    return interpreter.invoke, lambda _: interpreter.get_tensor(output)


def load_jax(network: Any, variables: Any, picture: np.ndarray) -> Loaded:
    """Jitted JAX, with the lowering that this project uses on CPUs."""
    import jax

    from rtseg_jax.deployment.trained import NORMALIZATION
    from rtseg_jax.export.heads import network_function
    from rtseg_jax.models.convolution import default_lowering

    function = jax.jit(network_function(network, variables, NORMALIZATION, lowering=default_lowering()))
    given = jax.device_put(picture)
    return lambda: jax.block_until_ready(function(given)), np.asarray


def load_torch(network: Any, variables: Any, picture: np.ndarray, threads: int, mode: str) -> Loaded:
    """PyTorch: `eager`, `channels last`, or `compile`, which is channels last and has its weights frozen."""
    import torch

    from benchmarks.torch_network import mirrored

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    module = torch_module(network, variables).to(memory_format=layout)
    given = mirrored(picture).contiguous(memory_format=layout)
    forward = torch.compile(module, options={"freezing": True}) if mode == "compile" else module

    def run() -> Any:
        with torch.no_grad():
            return forward(given)[0]

    return run, lambda logits: unmirrored(logits.numpy())


def load_onnx_runtime(model: bytes, picture: np.ndarray, threads: int) -> Loaded:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: np.ascontiguousarray(picture[:, ::-1, ::-1].transpose(0, 3, 1, 2))}
    return lambda: session.run(None, given)[0], unmirrored


def export_onnx(network: Any, variables: Any, size: tuple[int, int]) -> bytes:
    """The PyTorch network in ONNX format."""
    import torch

    warnings.simplefilter("ignore")  # of the exporter, about itself
    logging.disable(logging.WARNING)
    module, buffer = torch_module(network, variables), io.BytesIO()
    program = torch.onnx.export(module, (torch.zeros(1, 3, *size),), dynamo=True, verbose=False)
    program.save(buffer)
    return buffer.getvalue()


def torch_module(network: Any, variables: Any) -> Any:
    """The network in PyTorch, for inference; raises `ValueError` where it has other parameters."""
    from benchmarks.torch_network import TorchNetwork
    from rtseg_jax.architecture import counts
    from rtseg_jax.deployment.trained import NORMALIZATION

    module = TorchNetwork(network, variables, NORMALIZATION).eval()
    number = sum(parameter.numel() for parameter in module.parameters())
    if number != counts.parameters(network):
        raise ValueError(f"PyTorch's network has {number:,} parameters, not {counts.parameters(network):,}")
    return module


def unmirrored(logits: np.ndarray) -> np.ndarray:
    """Mirrored logits with channels first, as the other runtimes give them."""
    return logits.transpose(0, 2, 3, 1)[:, ::-1, ::-1]


def _load(load: Callable[[], Loaded]) -> np.ndarray:
    LOADED["network"] = load()
    run, logits = LOADED["network"]
    return np.array(logits(run()))


def _time(runs: int) -> list[Seconds]:
    run, _ = LOADED["network"]
    run()
    return [_time_once(run) for _ in range(runs)]


def _time_once(run: Callable[[], Any]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)
