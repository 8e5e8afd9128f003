"""Validation scores of a network during and after training."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh
from jaxtyping import Float, Int64, UInt8

from rtseg_jax.data import Dataset, DataSpec, EvaluationBatch, evaluation_batches
from rtseg_jax.evaluation.confusion import confusion_matrix
from rtseg_jax.evaluation.rules import RULES
from rtseg_jax.evaluation.scores import Scores, scores_from_confusion
from rtseg_jax.evaluation.upsampling import label_map
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.models.normalization import normalize
from rtseg_jax.training.sharding import put_batch, replicated, split
from rtseg_jax.training.specs import TrainSpec

Scorer = Callable[..., Scores]


def make_scorer(model: SegmentationNetwork, dataset: Dataset, data: DataSpec, train: TrainSpec, mesh: Mesh) -> Scorer:
    """A function (variables, architecture=None) → `Scores` on the whole validation set.

    Compiled once, at the network's input size: every process brings its own pictures' logits to the size of their
    labels on its host, counts them, and the counts are added up over the processes.
    """
    info = dataset.info

    def logits(variables: Any, architecture: Architecture | None, images: Any) -> jax.Array:
        # Classes first, as the host wants them.
        return jnp.moveaxis(model.apply(variables, normalize(images), architecture)["logits"], -1, 1)

    everywhere, shared = replicated(mesh), split(mesh)
    compiled = jax.jit(logits, in_shardings=(everywhere, everywhere, shared), out_shardings=shared)

    def score(variables: Any, architecture: Architecture | None = None) -> Scores:
        batches = evaluation_batches(
            dataset.validation,
            data,
            train.eval_batch_size,
            num_threads=train.num_threads,
            shard_index=jax.process_index(),
            shard_count=jax.process_count(),
        )
        begun = ((compiled(variables, architecture, put_batch(batch["image"], mesh)), batch) for batch in batches)
        total = np.zeros((info.num_classes, info.num_classes + 1), np.int64)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for planes, batch in _one_ahead(begun):
                for matrix in pool.map(_count, _pictures(planes), batch["label"], batch["valid"]):
                    total += matrix
        return scores_from_confusion(sum_over_processes(total), info.class_names, RULES[info.rule])

    return score


def _count(
    planes: Float[np.ndarray, "k h w"], label: UInt8[np.ndarray, "_ _"], valid: bool | np.bool
) -> Int64[np.ndarray, "k k_and_none"]:
    """Counts of one picture; nothing of one that only fills up a batch."""
    if not valid:
        return np.zeros((len(planes), len(planes) + 1), np.int64)
    height, width = label.shape
    return confusion_matrix(label, label_map(np.moveaxis(planes, 0, -1), (height, width)), len(planes))


def _one_ahead(begun: Iterator[tuple[jax.Array, EvaluationBatch]]) -> Iterator[tuple[jax.Array, EvaluationBatch]]:
    """The same items; the next one is asked for, and its network started, before one is handed out."""
    previous = next(begun, None)
    for following in begun:
        if previous is not None:
            yield previous
        previous = following
    if previous is not None:
        yield previous


def _pictures(outputs: jax.Array) -> Iterator[np.ndarray]:
    """What this process computed, picture by picture in order."""
    for shard in sorted(outputs.addressable_shards, key=lambda shard: shard.index[0].start or 0):
        yield from np.asarray(shard.data)


def sum_over_processes(counts: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Sum of what every process counted; int64, in halves, since JAX passes on 32 bits."""
    halves = np.asarray(process_allgather(counts.view(np.uint32)))
    gathered = halves.reshape(-1, *halves.shape[-counts.ndim :])
    return np.ascontiguousarray(gathered).view(np.int64).sum(axis=0)


def make_recalibration(
    model: SegmentationNetwork, augment: Callable[[Any], Any] | None = None
) -> Callable[[Any, Any], Any]:
    """A step (variables, batch) → variables that moves batch-norm statistics towards a training batch's."""

    def recalibrate(variables: Any, batch: Any) -> Any:
        if augment is not None:
            batch = augment(batch)
        _, updated = model.apply(
            variables,
            normalize(batch["image"]),
            train=True,
            auxiliary=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return {**variables, "batch_stats": updated["batch_stats"]}

    return recalibrate
