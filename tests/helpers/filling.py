"""Random variables of declarations: every leaf random, so that no scale, shift or statistic hides a leak."""

import numpy as np

from rtseg_jax.architecture import Network, Tensor
from rtseg_jax.architecture.extents import IMAGE
from rtseg_jax.models.variables import network_tree


def network_of(block):
    """A network of that block alone."""
    return Network(Tensor("image", (), IMAGE), (block,))


def random_variables(network, seed=0):
    """`params` and `batch_stats`: He kernels, positive variances, everything else of about 1."""
    generator = np.random.default_rng(seed)

    def draw(_, weight):
        value = generator.standard_normal(weight.shape)
        if weight.role == "kernel":
            value *= np.sqrt(1.5 / np.prod(weight.shape[:-1]))
        return np.float32(0.5 + np.abs(value) if weight.role == "variance" else value)

    return network_tree(network, draw)


def block_variables(block, seed=0):
    """Those of one block, as its module takes them."""
    tree = random_variables(network_of(block), seed)
    return {collection: leaves.get(block.name, {}) for collection, leaves in tree.items()}
