"""Where arrays lie, and batches on their way to the devices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from rtseg_jax.architecture import declare, network_class, network_classes
from rtseg_jax.errors import UserError
from rtseg_jax.models import SegmentationNetwork, variable_shapes
from rtseg_jax.search import arch_params
from rtseg_jax.search.worth_params import initial_worth
from rtseg_jax.training.optimizers import accumulated
from rtseg_jax.training.placement import make_placement, part_to_read
from rtseg_jax.training.scoring import own_pictures
from rtseg_jax.training.specs import MeshSpec
from rtseg_jax.zoo import RTSeg

P = PartitionSpec


def counting(read, closed):
    try:
        for number in itertools.count():
            read.append(number)
            yield {"image": np.full((2, 4, 2, 3), number)}
    finally:
        closed.append(True)


def test_the_next_batch_is_on_its_way_while_one_is_used():
    read, closed = [], []
    batches = make_placement(MeshSpec()).batches(counting(read, closed), 3)
    assert int(next(batches)["image"][0, 0, 0, 0]) == 0
    assert read == [0, 1]
    assert [int(batch["image"][1, 3, 1, 2]) for batch in batches] == [1, 2]
    assert read == [0, 1, 2]  # none is read beyond those that are used
    assert closed


def test_an_interrupted_loop_closes_what_it_reads_from():
    read, closed = [], []
    batches = make_placement(MeshSpec()).batches(counting(read, closed), 100)
    next(batches)
    batches.close()
    assert closed


@pytest.mark.parametrize(("spec", "parts"), [({}, P("data")), ({"spatial": 2}, P(None, "spatial"))])
def test_batches_are_divided_and_not_changed(spec, parts):
    placement = make_placement(MeshSpec(**spec))
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    (batch,) = placement.batches(iter([{"image": images, "label": images[..., 0]}]), 1)
    assert {array.sharding.spec for array in batch.values()} == {parts}
    np.testing.assert_array_equal(jax.device_get(batch["image"]), images)
    # Rows that a crop is still to be taken from stay together.
    read = placement.put_batch({"image": images, "label": images[..., 0], "augmentation": np.zeros((2, 8))})
    assert {array.sharding.spec for array in read.values()} == {P("data") if not spec else P()}


@pytest.mark.parametrize(
    ("parts", "rows", "per_process", "process", "expected"),
    [
        (8, 1, 4, 1, (1, 2)),
        (8, 1, 2, 3, (3, 4)),
        (2, 4, 4, 1, (1, 2)),  # each process has the rows of its own picture
        (2, 4, 2, 1, (0, 2)),  # two processes share a picture and read the same
        (1, 8, 2, 3, (0, 1)),
    ],
)
def test_processes_that_share_rows_read_the_same_pictures(parts, rows, per_process, process, expected):
    owners = np.arange(parts * rows).reshape(parts, rows) // per_process
    assert part_to_read(owners, process) == expected


def test_processes_with_parts_of_each_others_pictures_are_refused():
    with pytest.raises(UserError, match=r"config\.mesh\.spatial is 2: .* use a divisor"):
        part_to_read(np.arange(6).reshape(3, 2) // 3, 0)


def test_a_mesh_that_does_not_fit_is_refused():
    for spec in (MeshSpec(data=3), MeshSpec(fsdp=4), MeshSpec(data=1, spatial=1)):
        with pytest.raises(UserError, match=r"config\.mesh is .*, and there are 2 devices"):
            make_placement(spec)
    with pytest.raises(UserError, match=r"config\.mesh\.fsdp is 0: it must be at least 1"):
        MeshSpec(fsdp=0)
    placement = make_placement(MeshSpec(spatial=2))
    placement.check_batch_size(1, "config.batch_size")
    network = declare(RTSeg(3, width=0.1, segment_blocks=(0, 0, 1)))
    placement.check_rows(network, (128, 32), "config.data.train_size")  # 4 rows at 1/32
    for height in (33, 64, 96):
        with pytest.raises(
            UserError, match=rf"has height {height}, at which a map has \d+ rows: config\.mesh\.spatial=2"
        ):
            placement.check_rows(network, (height, 64), "config.data.train_size")
    make_placement(MeshSpec()).check_rows(network, (33, 64), "config.data.train_size")
    with pytest.raises(UserError, match=r"config\.batch_size is 3, which 2 devices cannot share; use a multiple of 2"):
        make_placement(MeshSpec(fsdp=2)).check_batch_size(3, "config.batch_size")


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((3, 3, 16, 32), P(None, None, None, "fsdp")),
        ((3, 3, 16, 19), P(None, None, "fsdp")),
        ((3, 3, 1, 32), P(None, None, None, "fsdp")),
        ((3, 3, 3, 19), P()),
    ],
)
def test_kernels_are_divided_along_outputs_or_else_inputs_or_else_not(shape, parts):
    placement = make_placement(MeshSpec(fsdp=2))
    assert placement.of_state({"kernel": np.zeros(shape)})["kernel"].spec == parts
    whole = make_placement(MeshSpec())
    assert whole.of_state({"kernel": np.zeros(shape)})["kernel"].spec == P()


def test_every_array_of_a_search_has_a_place_and_momentum_lies_with_its_weights():
    network = declare(RTSeg(3, width=0.1, segment_blocks=(0, 0, 1)))
    variables = variable_shapes(SegmentationNetwork(network))
    placement = make_placement(MeshSpec(fsdp=2))
    weights = placement.of_state(variables["params"])
    optimizer = accumulated(optax.sgd(optax.constant_schedule(0.1), momentum=0.9), 2)
    state = placement.of_state(jax.eval_shape(optimizer.init, variables["params"]))
    assert state.acc_grads == weights
    assert state.inner_opt_state[0].trace == weights
    assert any(sharding.spec for sharding in jax.tree.leaves(weights))
    arch = initial_worth(network, samples=4), arch_params.initialize(network, fresh(variables), seed=0)
    others = placement.of_state((variables["batch_stats"], arch))
    assert {sharding.spec for sharding in jax.tree.leaves(others)} == {P()}


def fresh(variables):
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), variables["params"])


@pytest.mark.parametrize("name", network_classes())
def test_the_weights_of_every_network_have_a_place(name):
    shapes = variable_shapes(SegmentationNetwork(declare(network_class(name)(19))))
    places = jax.tree_util.tree_leaves_with_path(make_placement(MeshSpec(fsdp=2)).of_state(shapes))
    divided = {path[-1].key for path, place in places if "fsdp" in place.spec}
    assert divided == {"kernel"}


@pytest.mark.parametrize("name", ["tokens", "kernel"])
def test_an_array_that_no_table_covers_is_refused(name):
    with pytest.raises(UserError, match=rf"\['stem'\]\['{name}'\] of shape \(4, 8\): nothing says which devices"):
        make_placement(MeshSpec()).of_state({"stem": {name: np.zeros((4, 8))}})


def test_what_is_put_shares_no_memory_and_comes_together_again():
    placement = make_placement(MeshSpec(fsdp=2))
    kernel = jnp.arange(8.0).reshape(1, 1, 2, 4)
    put = placement.put({"kernel": kernel, "bias": jnp.ones(3)})
    assert [shard.data.shape for shard in put["kernel"].addressable_shards] == [(1, 1, 2, 2)] * 2
    whole = placement.whole(put)["kernel"]
    assert whole.is_fully_replicated
    np.testing.assert_array_equal(whole, kernel)
    again = placement.put(put)
    jax.tree.map(lambda array: array.delete(), put)
    np.testing.assert_array_equal(again["kernel"], kernel)


@pytest.mark.parametrize("spec", [{}, {"spatial": 2}, {"fsdp": 2}])
def test_every_picture_is_counted_once(spec):
    placement = make_placement(MeshSpec(**spec))
    planes = jax.device_put(jnp.arange(4.0)[:, None, None, None], placement.sharding(("batch",), (4,)))
    assert sorted((place, float(picture.squeeze())) for place, picture in own_pictures(planes)) == [
        (n, float(n)) for n in range(4)
    ]


def test_mesh_axes_are_left_to_the_compiler():
    mesh = make_placement(MeshSpec()).mesh
    assert isinstance(mesh, Mesh)
    assert set(mesh.axis_types) == {AxisType.Auto}
