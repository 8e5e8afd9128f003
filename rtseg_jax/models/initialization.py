"""Fresh weights, drawn on the host: nothing is compiled, and every backend gets the same bits."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtseg_jax.models.network import SegmentationNetwork

Variables = dict[str, Any]


def variable_shapes(model: SegmentationNetwork) -> Variables:
    """Shapes and dtypes of a network's variables, auxiliary heads included."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return dict(jax.eval_shape(lambda x: model.init(jax.random.key(0), x, auxiliary=True), image))


def initial_variables(model: SegmentationNetwork, seed: int) -> Variables:
    """Kernels normal with variance 2 / fan-in (He et al. 2015) before batch norm and 1 / fan-in elsewhere.

    Scales and variances are 1, shifts and means 0. Each array depends on the seed and its own name only.
    """
    shapes = variable_shapes(model)
    with_norm = {path[:-1] for path, _ in _leaves(shapes["batch_stats"])}

    def draw(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        if path[-1] in ("scale", "var"):
            return np.ones(shape, np.float32)
        if path[-1] != "kernel":
            return np.zeros(shape, np.float32)
        gain = 2.0 if (*path[:-1], "norm") in with_norm else 1.0
        generator = np.random.default_rng([seed, zlib.crc32("/".join(path).encode())])
        deviation = np.float32(np.sqrt(gain / np.prod(shape[:-1])))
        return generator.standard_normal(shape, np.float32) * deviation

    return {name: _map(tree, draw) for name, tree in shapes.items()}


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, Mapping):
        return [(path, tree)]
    return [leaf for name, value in tree.items() for leaf in _leaves(value, (*path, name))]


def _map(tree: Any, draw: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map(value, draw, (*path, name)) for name, value in tree.items()}
    return draw(path, tree.shape)
