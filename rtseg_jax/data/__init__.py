"""Sources, augmentation, Grain pipelines and synthetic streets."""

from rtseg_jax.data.caching import kept_in_memory
from rtseg_jax.data.catalogue import ADE20K, CAMVID, CITYSCAPES, SYNTHETIC_STREETS, VOC2012
from rtseg_jax.data.checking import check_source
from rtseg_jax.data.dataset import Dataset, DatasetInfo, DataSpec, Example, Source
from rtseg_jax.data.pipeline import Batch, EvaluationBatch, evaluation_batches, training_batches
from rtseg_jax.data.registry import build_dataset, dataset_info
from rtseg_jax.labels import IGNORE

__all__ = [
    "ADE20K",
    "CAMVID",
    "CITYSCAPES",
    "IGNORE",
    "SYNTHETIC_STREETS",
    "VOC2012",
    "Batch",
    "DataSpec",
    "Dataset",
    "DatasetInfo",
    "EvaluationBatch",
    "Example",
    "Source",
    "build_dataset",
    "check_source",
    "dataset_info",
    "evaluation_batches",
    "kept_in_memory",
    "training_batches",
]
