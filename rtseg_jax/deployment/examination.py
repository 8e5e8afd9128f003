"""Runs an exported file beside the JAX network that it came from."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from rtseg_jax.data import Dataset, Source, evaluation_batches
from rtseg_jax.data.subset import Subset, spread
from rtseg_jax.deployment.trained import NORMALIZATION, Trained
from rtseg_jax.evaluation.rules import RULES
from rtseg_jax.evaluation.scores import Scores
from rtseg_jax.evaluation.tally import Tally
from rtseg_jax.evaluation.upsampling import labels_from
from rtseg_jax.export import gpu
from rtseg_jax.export.heads import network_function
from rtseg_jax.export.parity import Parity, TFLiteFunction, compare_outputs
from rtseg_jax.export.spec import ExportSpec

Pictures = UInt8[np.ndarray, "b h w 3"]
Function = Callable[[Pictures], Any]
"""A network, or a file of any form; it casts pictures to the type that it takes."""


@dataclasses.dataclass(frozen=True)
class Examination:
    """What files of one network and one `ExportSpec` are compared with.

    Attributes:
      trained: the network.
      dataset: pictures; None to compare nothing.
      spec: of the files.
      scored: validation pictures that mIoU is taken over; None for all, 0 for none.
      compared: validation pictures whose outputs are compared.
      compared_on_gpu: how many of those are run on the GPU accelerator, which may be slow in software.
    """

    trained: Trained
    dataset: Dataset | None
    spec: ExportSpec
    scored: int | None = None
    compared: int = 8
    compared_on_gpu: int = 2

    @functools.cached_property
    def scored_source(self) -> Source | None:
        """The pictures that mIoU is taken over."""
        if self.dataset is None or self.scored == 0:
            return None
        validation = self.dataset.validation
        return Subset(validation, spread(validation, self.scored or len(validation)))

    @functools.cached_property
    def jax_miou(self) -> float | None:
        """Of the network itself, its logits at picture size."""
        return self.miou(jax.jit(self._native("logits")))

    def miou(self, function: Function) -> float | None:
        """Of a file or a network on the scored pictures; None where there are none."""
        scores = self.scores(function)
        return None if scores is None else scores.miou

    def scores(self, function: Function) -> Scores | None:
        """Likewise, by class as well."""
        if self.scored_source is None or self.dataset is None:
            return None
        info = self.dataset.info
        tally = Tally(info.num_classes)
        for batch in self._batches(self.scored_source):
            outputs = np.asarray(function(batch["image"]))
            for output, label, valid in zip(outputs, batch["label"], batch["valid"], strict=True):
                if valid:
                    tally.add(label, labels_from(output, label.shape))
        return tally.scores(info.class_names, RULES[info.rule])

    def lost(self, file: Function) -> float | None:
        """Points of mIoU that a file lost against JAX."""
        miou = self.miou(file)
        return None if miou is None or self.jax_miou is None else 100 * (self.jax_miou - miou)

    def on_cpu(self, file: Function) -> Parity | None:
        """Agreement of a file on the CPU with JAX; None where there are no pictures."""
        return compare_outputs(self._expected, map(file, self._compared)) if self._compared else None

    def on_gpu(self, model: bytes) -> tuple[gpu.Verdict, Parity | None] | None:
        """Verdict of the GPU accelerator and agreement with JAX; None where the machine has none."""
        dtype = TFLiteFunction(model).input_dtype
        inputs = [pictures.astype(dtype) for pictures in self._compared[: self.compared_on_gpu]]
        try:
            (run,) = gpu.run_on_gpu([gpu.Job(model, tuple(inputs))])
        except gpu.NoAdapter:
            return None
        comparable = bool(inputs) and bool(run.outputs)
        return run.verdict, compare_outputs(self._expected[: len(inputs)], run.outputs) if comparable else None

    @functools.cached_property
    def _compared(self) -> Sequence[Pictures]:
        """Full batches, about as many pictures as asked for."""
        if self.dataset is None:
            return []
        number = max(self.compared, self.spec.batch)
        source = Subset(self.dataset.validation, spread(self.dataset.validation, number - number % self.spec.batch))
        return [batch["image"] for batch in self._batches(source)]

    @functools.cached_property
    def _expected(self) -> Sequence[np.ndarray]:
        native = jax.jit(self._native(self.spec.head))
        return [np.asarray(native(pictures)) for pictures in self._compared]

    def _native(self, head: str) -> Callable[[Any], jax.Array]:
        return network_function(self.trained.network, self.trained.variables, NORMALIZATION, head, lowering="native")

    def _batches(self, source: Source) -> Iterator[Any]:
        data = dataclasses.replace(self.trained.spec.data, eval_size=self.spec.size)
        return evaluation_batches(source, data, self.spec.batch, num_threads=0)
