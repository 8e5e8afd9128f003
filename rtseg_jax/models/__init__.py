"""The Flax interpreter of a declaration."""

from rtseg_jax.models.initialization import initial_variables, variable_shapes
from rtseg_jax.models.network import Architecture, Outputs, SegmentationNetwork

__all__ = ["Architecture", "Outputs", "SegmentationNetwork", "initial_variables", "variable_shapes"]
