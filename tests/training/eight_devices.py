"""Ten steps of searches and a validation on several meshes of eight devices; their numbers go to an npz file.

    python tests/training/eight_devices.py FILE

It is a process of its own, since the tests' own has two devices.
"""

import dataclasses
import os
import sys

from helpers import quick_compiles

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {quick_compiles.FLAGS}"

import jax
import jax.numpy as jnp
import numpy as np
import optax
from test_scoring import INFO, TRAIN, Noise
from test_scoring import SPEC as DATA
from test_step import ARCH_SGD, SEARCH, SPEC, latency

from benchmarks.scaling import collectives
from rtseg_jax.architecture import declare
from rtseg_jax.data import Dataset
from rtseg_jax.models import SegmentationNetwork, initial_variables
from rtseg_jax.models.convolution import default_lowering
from rtseg_jax.models.resize import resize
from rtseg_jax.search import arch_params
from rtseg_jax.search.cost import Target
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.loop import compile_step
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.optimizers import weight_optimizer
from rtseg_jax.training.phases import initial_state
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.published_search import PublishedSearch
from rtseg_jax.training.scoring import make_counter
from rtseg_jax.training.specs import MeshSpec
from rtseg_jax.training.step import StepSetup
from rtseg_jax.training.worth_search import WorthSearch

STEPS, BATCH, SIZE = 10, 8, (128, 64)  # four rows at 1/32, two for each of two devices
LOSS = LossSpec(beta=0.01, gamma=0.0)  # auxiliary heads would add nothing but compilation
NETWORK = declare(dataclasses.replace(SPEC, detail_blocks=(1, 1, 1)))
MESHES = {
    "one": None,
    "data": MeshSpec(data=8),
    "spatial": MeshSpec(data=4, spatial=2),
    "fsdp": MeshSpec(data=2, fsdp=4),
    "all": MeshSpec(data=2, fsdp=2, spatial=2),
}
OPTIMIZATION = dataclasses.replace(TRAIN, learning_rate=0.01, eval_batch_size=BATCH)


def placement_of(name):
    """The placement of a mesh by name; `one` is a single device."""
    spec = MESHES[name]
    return make_placement(MeshSpec(), jax.devices()[:1]) if spec is None else make_placement(spec)


def model_of(placement):
    """The network as a run has it on a mesh."""
    return SegmentationNetwork(NETWORK, lowering=default_lowering(), division=placement.division)


def batch_of(number):
    """Noise, with a void border."""
    rng = np.random.default_rng(number)
    label = rng.integers(0, 3, (BATCH, *SIZE)).astype(np.uint8)
    label[:, :3] = 255
    return {"image": rng.integers(0, 256, (BATCH, *SIZE, 3)).astype(np.uint8), "label": label}


def worth_search(model, placement):
    """The step by worth and its first state: whole batches."""
    setup = StepSetup(model, weight_optimizer(OPTIMIZATION, "search"), LOSS, 3, WorthSearch(latency, Target(1.0)))
    return setup, initial_state(setup, initial_variables(model, 0), placement, initial_worth(NETWORK, STEPS))


def published_search(model, placement):
    """The published step and its first state: an update of every two batches."""
    optimizer = weight_optimizer(dataclasses.replace(OPTIMIZATION, accumulate=2), "search")
    rule = PublishedSearch(SEARCH, STEPS, latency, Target(1.0), ARCH_SGD, loss=LOSS, start_cost=4.0)
    setup = StepSetup(model, optimizer, LOSS, 3, rule)
    variables = initial_variables(model, 0)
    arch = arch_params.initialize(NETWORK, variables["params"], seed=0)
    opt_state = rule.optimizer.init(arch)
    return setup, initial_state(setup, variables, placement, arch, None, opt_state, BetaControl.start())


def search(start, name):
    """Losses and samples of every step, and the last state, as arrays by name."""
    placement = placement_of(name)
    setup, state = start(model_of(placement), placement)
    step = compile_step(setup, state, placement)
    first, losses, kept = state, [], []
    for number in range(STEPS):
        state, metrics = step(state, placement.put_batch(batch_of(number)), None)
        losses.append(float(metrics["losses"]["total"]))
        kept.append([int(value) for value in metrics["kept"].values()])
    assert step._cache_size() == 1, "compiled more than once"
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first)), "a second copy of the state"
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    found = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return {"losses": np.asarray(losses), "kept": np.asarray(kept), **found}


class Eleven(Noise):
    """Eleven pictures of five sizes: a batch of eight, and one that is filled up."""

    def __len__(self):
        return 11

    def __getitem__(self, index):
        return super().__getitem__(index % 5)


def confusion(name):
    """Counts of all pictures."""
    placement, data = placement_of(name), dataclasses.replace(DATA, eval_size=SIZE)
    model = model_of(placement)
    variables = placement.put(initial_variables(model, 0))
    return make_counter(model, Dataset(INFO, Eleven(), Eleven()), data, OPTIMIZATION, placement)(variables, None)


def exchanged():
    """Bytes of the largest map that devices exchange for 64×64 logits of 8×8, the rows of a picture on two devices."""
    mesh = jax.make_mesh((4, 2), ("pictures", "rows"))
    shared = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("pictures", "rows"))

    def loss(factors, x, labels):
        logits = resize(x * factors, (64, 64), lowering="native", rows_divided=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    shapes = [((3,), jnp.float32), ((8, 8, 8, 3), jnp.float32), ((8, 64, 64), jnp.int32)]
    step = jax.jit(jax.grad(loss), in_shardings=(None, shared, shared))
    program = step.lower(*(jax.ShapeDtypeStruct(*shape) for shape in shapes)).compile().as_text()
    return max(collective.size for collective in collectives(program))


def main():
    results = {}
    searches = (
        ("worth", worth_search, ("one", "data", "spatial", "fsdp")),
        ("published", published_search, ("one", "all")),
    )
    for rule, start, meshes in searches:
        for name in meshes:
            results |= {f"{rule}/{name}/{key}": value for key, value in search(start, name).items()}
    for name in ("one", "all"):
        results[f"scores/{name}/confusion"] = confusion(name)
    results["resize/spatial/exchanged"] = exchanged()
    np.savez(sys.argv[1], **results)


if __name__ == "__main__":
    main()
