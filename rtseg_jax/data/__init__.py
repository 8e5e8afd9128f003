"""Sources, augmentation, Grain pipelines and synthetic streets."""

from rtseg_jax.data.a2d2 import INFO as A2D2
from rtseg_jax.data.ade20k import INFO as ADE20K
from rtseg_jax.data.bdd100k import INFO as BDD100K
from rtseg_jax.data.caching import kept_in_memory
from rtseg_jax.data.camvid import INFO as CAMVID
from rtseg_jax.data.checking import check_source, findings
from rtseg_jax.data.cityscapes import INFO as CITYSCAPES
from rtseg_jax.data.dataset import Dataset, DatasetInfo, DataSpec, Description, Example, Source, describe_example
from rtseg_jax.data.findings import BadFile, Finding
from rtseg_jax.data.kitti import INFO as KITTI
from rtseg_jax.data.label_table import LabelTable
from rtseg_jax.data.nyuv2 import INFO as NYUV2
from rtseg_jax.data.pipeline import Batch, EvaluationBatch, evaluation_batches, training_batches
from rtseg_jax.data.registry import build_dataset, build_split, dataset_info, recorded_info
from rtseg_jax.data.synthetic import SYNTHETIC_STREETS
from rtseg_jax.data.voc2012 import INFO as VOC2012
from rtseg_jax.labels import IGNORE

__all__ = [
    "A2D2",
    "ADE20K",
    "BDD100K",
    "CAMVID",
    "CITYSCAPES",
    "IGNORE",
    "KITTI",
    "NYUV2",
    "SYNTHETIC_STREETS",
    "VOC2012",
    "BadFile",
    "Batch",
    "DataSpec",
    "Dataset",
    "DatasetInfo",
    "Description",
    "EvaluationBatch",
    "Example",
    "Finding",
    "LabelTable",
    "Source",
    "build_dataset",
    "build_split",
    "check_source",
    "dataset_info",
    "describe_example",
    "evaluation_batches",
    "findings",
    "kept_in_memory",
    "recorded_info",
    "training_batches",
]
