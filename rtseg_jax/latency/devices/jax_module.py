"""The Flax module itself, jitted, on the device that JAX uses in this process: a GPU, a TPU, or this CPU.

No file is involved, and no TensorFlow. Compilation happens while a model is built. Weights are arguments of the
compiled program, not constants in it.
"""

import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rtseg_jax.architecture import Block, Network
from rtseg_jax.latency.backend import WARMUP, Timing, processor_name, timing_of
from rtseg_jax.latency.subjects import Subject

JAX_DEVICES = {"jax": "float32", "jax_bfloat16": "bfloat16"}
"""Precision of the modules that run on this process's default device of JAX."""

TIMED_S = 2e-3  # shorter calls are timed several at a time, until the clock's noise does not matter
MOST = 2000  # calls at a time, where the clock has not moved during one


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function with its arguments on the device.

    Attributes:
      call: runs it once; the result may still be under way.
      text: what the compiler was given.
    """

    call: Callable[[], Any]
    text: str


class JaxModule:
    """Wall time of the compiled module, batch 1.

    Accelerators run calls in the order in which they were queued, so several of them are queued and the last result is
    waited for: what the host needs to start one hides behind the one before it, as it does in a stream of pictures. A
    CPU could run two calls at once; there each one is waited for.
    """

    def __init__(
        self,
        name: str = "jax",
        runs: int = 15,
        warmup: int = WARMUP,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.name, self.runs, self.warmup = name, runs, warmup
        self.dtype = jnp.dtype(JAX_DEVICES[name])
        self.device = jax.devices()[0]
        self._clock = clock

    def build(self, subject: Subject) -> Program:
        """Compiles a block or network with random weights."""
        return self.compile(*module_function(subject.declare(), subject.image_size, self.dtype))

    def compile(self, function: Callable[..., Any], *arguments: Any) -> Program:
        """Compiles a function of arrays for the device, and puts its arguments there."""
        lowered = jax.jit(function).lower(*arguments)
        return Program(functools.partial(lowered.compile(), *jax.device_put(arguments, self.device)), lowered.as_text())

    def digest(self, model: Program) -> str:
        """Hash of what the compiler was given."""
        return hashlib.sha256(model.text.encode()).hexdigest()

    def measure(self, model: Program) -> Timing:
        """Times one program on random input."""
        for _ in range(self.warmup):
            jax.block_until_ready(model.call())
        once = self._seconds(model.call, 1)
        together = min(MOST, math.ceil(TIMED_S / once)) if once > 0 else MOST
        seconds = [self._seconds(model.call, together) for _ in range(self.runs)]
        return timing_of(seconds)

    def _seconds(self, call: Callable[[], Any], number: int) -> float:
        """Time of one call, as the mean of so many."""
        wait = self.device.platform == "cpu"
        start = self._clock()
        for _ in range(number):
            result = call()
            if wait:
                jax.block_until_ready(result)
        jax.block_until_ready(result)
        return (self._clock() - start) / number

    def card(self) -> dict[str, Any]:
        """Says what a figure means."""
        on_cpu = self.device.platform == "cpu"
        products = jax.config.values["jax_default_matmul_precision"] or "the platform's default"
        return {
            "device": processor_name() if on_cpu else self.device.device_kind,
            "backend": self.name,
            "runtime": f"JAX {jax.__version__}, XLA on {self.device.platform}",
            "precision": f"{self.dtype.name}, products in {products} precision",
            "threads": "all of XLA's",
            "warmup": self.warmup,
            "runs": self.runs,
            "statistic": "minimum",
            "clock": "wall time of a call" if on_cpu else "wall time of a call among queued ones",
        }


def module_function(
    declared: Block | Network, image_size: tuple[int, int], dtype: Any
) -> tuple[Callable[..., Any], Any, list[Any]]:
    """The module of a declaration as a function, its random weights, and random inputs.

    Kernels come in the precision of the computation, so that no call has to convert them.
    """
    from rtseg_jax.export import tflite
    from rtseg_jax.models.convolution import default_lowering
    from rtseg_jax.models.network import BlockModule, SegmentationNetwork

    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(leaf, dtype if path[-1].key == "kernel" else leaf.dtype),
        tflite.random_variables(declared),
    )
    if isinstance(declared, Block):
        block = BlockModule(declared, dtype, default_lowering())
        shapes = tflite.block_input_shapes(declared, image_size)
        inputs = _random_inputs(shapes, dtype)
        return lambda variables, inputs: block.apply(variables, inputs, None, train=False), variables, inputs
    network = SegmentationNetwork(declared, dtype, default_lowering())
    pictures = _random_inputs([(1, *image_size, 3)], jnp.float32)
    return lambda variables, pictures: network.apply(variables, pictures[0])["logits"], variables, pictures  # type: ignore


def _random_inputs(shapes: list[tuple[int, ...]], dtype: Any) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]
