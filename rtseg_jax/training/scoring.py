"""Validation scores of a network during and after training."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from rtseg_jax.data import Dataset, DataSpec, evaluation_batches
from rtseg_jax.evaluation.confusion import confusion_matrix, predict_labels, sum_confusions
from rtseg_jax.evaluation.scores import Scores, scores_from_confusion
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.training.sharding import put_batch, replicated, split
from rtseg_jax.training.specs import TrainSpec
from rtseg_jax.training.step import normalize

Scorer = Callable[..., Scores]


def make_scorer(model: SegmentationNetwork, dataset: Dataset, data: DataSpec, train: TrainSpec, mesh: Mesh) -> Scorer:
    """A function (variables, architecture=None) → `Scores` on the whole validation set, compiled once."""
    num_classes = dataset.info.num_classes

    def confusion(variables: Any, architecture: Architecture | None, batch: Any) -> jax.Array:
        outputs = model.apply(variables, normalize(batch["image"]), architecture)
        predictions = predict_labels(outputs["logits"], batch["label"].shape[1:])
        return confusion_matrix(predictions, batch["label"], batch["valid"], num_classes)

    everywhere = replicated(mesh)
    compiled = jax.jit(confusion, in_shardings=(everywhere, everywhere, split(mesh)), out_shardings=everywhere)

    def score(variables: Any, architecture: Architecture | None = None) -> Scores:
        batches = evaluation_batches(
            dataset.validation,
            data,
            train.eval_batch_size,
            num_threads=train.num_threads,
            shard_index=jax.process_index(),
            shard_count=jax.process_count(),
        )
        matrices = (compiled(variables, architecture, put_batch(batch, mesh)) for batch in batches)
        return scores_from_confusion(sum_confusions(matrices), dataset.info.class_names)

    return score


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
