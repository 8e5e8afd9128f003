"""The pure step: what it keeps, what it changes, and the same numbers computed another way."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.filling import random_variables

from rtseg_jax.architecture import Builder, Network, Tensor, declare
from rtseg_jax.architecture.builder import fixed
from rtseg_jax.architecture.extents import IMAGE
from rtseg_jax.config import base_config
from rtseg_jax.models import Architecture, SegmentationNetwork
from rtseg_jax.models.normalization import normalize
from rtseg_jax.models.rounding import Integers
from rtseg_jax.search.arch_params import ArchParams, initialize
from rtseg_jax.search.cost import Target
from rtseg_jax.search.estimators import binarize, sample_path
from rtseg_jax.training.beta_control import BetaControl
from rtseg_jax.training.loop import compile_step
from rtseg_jax.training.losses import LossSpec, cross_entropy
from rtseg_jax.training.optimizers import accumulated
from rtseg_jax.training.placement import make_placement
from rtseg_jax.training.published_search import LiteralSearch, PublishedSearch
from rtseg_jax.training.specs import MeshSpec, SearchSpec
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.step import StepSetup, make_step
from rtseg_jax.zoo import RTSeg

PATHS = ("skip", "lir", "mhsa")

SPEC = RTSeg(
    3,
    width=0.05,  # eight channels everywhere but in the head
    segment_blocks=(0, 0, 1),
    expansion=1,
    mlp_ratio=1,
    head_width=8,
    auxiliary_channels=8,
    dropout=0.0,
)
NETWORK = declare(SPEC)
MODEL = SegmentationNetwork(NETWORK)
SIZE = (32, 64)
RATE, WIDTH_RATE, PATH_RATE = 0.1, 0.02, 0.5
LOSS = LossSpec(beta=0.01, gamma=0.5)
STEPS = 10
SEARCH = dataclasses.replace(
    SearchSpec(**base_config().search),
    rule="published",
    literal=True,
    width_rate=WIDTH_RATE,
    path_rate=PATH_RATE,
    temperature_start=4.0,
    temperature_end=1.0,
)


def latency(kept, paths):
    """Milliseconds, made up: squares of widths, and what the taken path costs."""
    total = sum(0.01 * kept[name] ** 2 for name in sorted(kept) if "_lir" not in name and "_mhsa" not in name)
    for name, weights in paths.items():
        for index, path in enumerate(PATHS[1:], start=1):
            total += weights[index] * sum(0.1 * kept[g] ** 2 for g in kept if g.startswith(f"{name}_{path}."))
    return total


LABELS = ArchParams("widths", "paths")
ARCH_SGD = optax.multi_transform({"widths": optax.sgd(WIDTH_RATE), "paths": optax.sgd(PATH_RATE)}, lambda _: LABELS)
LITERAL = LiteralSearch(SEARCH, STEPS, latency, Target(1.0), ARCH_SGD)
MENDED = PublishedSearch(SEARCH, STEPS, latency, Target(1.0), ARCH_SGD, loss=LOSS, start_cost=4.0)
SETUP = StepSetup(model=MODEL, optimizer=optax.sgd(RATE), loss=LOSS, seed=3, search=LITERAL)


@functools.cache
def variables():
    """Random weights and statistics (not fresh ones: a selected path then always moves them)."""
    images = jax.ShapeDtypeStruct((2, *SIZE, 3), jnp.float32)
    shapes = jax.eval_shape(functools.partial(MODEL.init, auxiliary=True), jax.random.key(0), images)
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        value = rng.standard_normal(leaf.shape)
        if path[-1].key in ("var", "scale"):
            value = 0.5 + np.abs(value)
        elif path[-1].key == "kernel":
            value /= np.sqrt(np.prod(leaf.shape[:-1]))
        elif path[-1].key == "bias":
            value *= 0.3  # large ones leave channels dead behind their ReLU
        return jnp.asarray(value, jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def state_of(setup, step=0, paths=None):
    params, stats = variables()["params"], variables()["batch_stats"]
    state = TrainState(jnp.int32(step), params, stats, setup.optimizer.init(params))
    if setup.search is None:
        return state
    arch = initialize(NETWORK, params, seed=0)
    # Some indicators below the threshold, so that something is masked.
    arch = arch._replace(widths={name: value - 0.5 for name, value in arch.widths.items()})
    if paths is not None:
        arch = arch._replace(paths={"stage32_1": jnp.asarray(paths, jnp.float32)})
    return state.replace(arch=arch, arch_opt_state=setup.search.optimizer.init(arch))


def batch_of(seed, size=4):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, (size, *SIZE)).astype(np.uint8)
    label[:, :3] = 255
    return {"image": rng.integers(0, 256, (size, *SIZE, 3)).astype(np.uint8), "label": label}


traces = []


@functools.cache
def search_step():
    """The searching step, compiled once for this file; `traces` counts how often it is traced."""
    step = make_step(SETUP)

    def counted(state, batch):
        traces.append(1)
        return step(state, batch, None)

    return jax.jit(counted)


def describe(tree):
    return [(jnp.shape(leaf), jnp.asarray(leaf).dtype) for leaf in jax.tree.leaves(tree)]


def assert_close(actual, expected, tolerance=1e-5):
    def check(a, e):
        a, e = np.asarray(a), np.asarray(e)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(1.0, np.abs(e).max()))

    jax.tree.map(check, actual, expected)


def test_a_step_is_given_what_augmentation_makes_of_its_batch():
    def augment(batch):
        return {"image": batch["pictures"], "label": batch["truth"]}

    setup = dataclasses.replace(SETUP, search=None, augment=augment)
    batch = batch_of(0)
    unaugmented = {"pictures": batch["image"], "truth": batch["label"]}
    state = state_of(setup)
    after, _ = jax.eval_shape(make_step(setup), state, unaugmented, None)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)] == describe(state)


def test_normalize_by_hand():
    image = jnp.asarray(np.array([0, 255, 128], np.uint8)).reshape(1, 1, 1, 3)
    expected = [(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(normalize(image)[0, 0, 0], expected, rtol=1e-6)


def test_schedules_by_hand():
    temperatures = [float(LITERAL.temperature(jnp.int32(step))) for step in (0, 3, 9)]
    np.testing.assert_allclose(temperatures, [4.0, 4.0 * 4 ** (-1 / 3), 1.0], rtol=1e-5)
    assert [bool(LITERAL.frozen(jnp.int32(step))) for step in (0, 6, 7, 9)] == [False, False, True, True]


def test_state_is_stable_and_traced_once():
    state = state_of(SETUP)
    before = len(traces)
    first, metrics = search_step()(state, batch_of(0))
    second, _ = search_step()(first, batch_of(1))
    assert len(traces) <= max(1, before)
    for after in (first, second):
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)] == describe(state)
    assert [int(s.step) for s in (state, first, second)] == [0, 1, 2]
    losses = metrics["losses"]
    assert float(losses["total"]) == pytest.approx(
        float(losses["segmentation"] + 0.5 * losses["auxiliary"] + 0.01 * losses["cost"]), rel=1e-5
    )
    assert float(losses["cost"]) == pytest.approx(abs(float(metrics["cost"]) - 1.0), rel=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_only_the_selected_path_updates_its_statistics(path):
    logits = np.where(np.array(PATHS) == path, 50.0, 0.0)
    state = state_of(SETUP, paths=logits)
    after, _ = search_step()(state, batch_of(0))
    for name, old in state.batch_stats.items():
        new = after.batch_stats[name]
        changed = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), old, new)
        inside = name.startswith("stage32_1_")
        assert all(jax.tree.leaves(changed)) is (not inside or name.endswith(path)), name
        assert any(jax.tree.leaves(changed)) is (not inside or name.endswith(path)), name


def sampled(arch, step):
    """The sample that a step draws, from the same keys."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), step), 1)
    noise = jax.random.gumbel(jax.random.split(key, 1)[0], (3,))
    return noise, 4.0 * (1 / 4) ** (step / 9)


def by_hand(params, arch, stats, batch, step, gamma):
    """Total loss, written out."""
    noise, temperature = sampled(arch, step)
    masks = {g.name: binarize(arch.widths[g.name], g.floor, g.multiple) for g in NETWORK.searched_groups}
    path = sample_path(arch.paths["stage32_1"], noise, jnp.float32(temperature))
    outputs, _ = MODEL.apply(
        {"params": params, "batch_stats": stats},
        normalize(jnp.asarray(batch["image"])),
        Architecture(masks, {"stage32_1": path}),
        train=True,
        auxiliary=True,
        mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(0)},
    )
    labels = jnp.asarray(batch["label"])
    loss = cross_entropy(outputs["logits"], labels)
    loss += gamma * sum(cross_entropy(logits, labels) for logits in outputs["auxiliary"])
    kept = {name: mask.sum() for name, mask in masks.items()}
    milliseconds = latency(kept, {"stage32_1": jax.nn.softmax(arch.paths["stage32_1"])})
    return loss + 0.01 * jnp.abs(milliseconds - 1.0)


@jax.jit
def derivatives(params, arch, stats, batch, gamma):
    return jax.grad(by_hand, argnums=(0, 1))(params, arch, stats, batch, 0, gamma)


@functools.cache
def gradients_by_hand(gamma=0.5):
    state = state_of(SETUP)
    return derivatives(state.params, state.arch, state.batch_stats, batch_of(0), gamma)


def test_weights_and_architecture_move_together():
    """Both gradients belong to the old point: neither sees the other's update."""
    state = state_of(SETUP)
    after, _ = search_step()(state, batch_of(0))
    weights, arch = gradients_by_hand()
    assert_close(after.params, jax.tree.map(lambda p, g: p - RATE * g, state.params, weights), 2e-5)
    widths = jax.tree.map(lambda p, g: p - WIDTH_RATE * g, state.arch.widths, arch.widths)
    paths = jax.tree.map(lambda p, g: p - PATH_RATE * g, state.arch.paths, arch.paths)
    assert_close(after.arch, ArchParams(widths, paths), 2e-5)
    assert all(np.any(np.asarray(g)) for g in jax.tree.leaves(arch))


def test_the_mended_step_weighs_the_main_loss_against_milliseconds():
    """Weights hear the auxiliary heads, the architecture does not; it moves by loss per millisecond and its price."""
    setup = dataclasses.replace(SETUP, search=MENDED, main_loss_only=True)
    step = jax.jit(lambda state, batch: make_step(setup)(state, batch, None))
    state = state_of(SETUP).replace(beta_control=BetaControl(jnp.log(3.0), jnp.float32(0.0)))
    after, metrics = step(state, batch_of(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    price = 0.01 * 2.0  # of 3 = 1 + dual variable / β
    assert float(metrics["beta"]) == pytest.approx(price, rel=1e-5)
    weights, _ = gradients_by_hand()
    assert_close(after.params, jax.tree.map(lambda p, g: p - RATE * g, state.params, weights), 2e-5)
    _, arch = gradients_by_hand(gamma=0.0)
    _, with_heads = gradients_by_hand()
    slopes, costs = jax.grad(latency, argnums=(0, 1))(metrics["kept"], metrics["paths"])
    heard = 0
    for name, old in state.arch.widths.items():
        moved = (old - after.arch.widths[name]) / WIDTH_RATE * slopes[name]
        expected = arch.widths[name] + (price - 0.01) * slopes[name]  # by hand there is β·slope in it
        np.testing.assert_allclose(moved, expected, atol=1e-5, err_msg=name)
        heard += float(jnp.abs(arch.widths[name] - with_heads.widths[name]).max()) > 1e-3
    assert heard > 3  # groups that the heads would have pulled
    even = jnp.full(3, 1 / 3)
    priced = even * (costs["stage32_1"] - jnp.sum(even * costs["stage32_1"]))
    task = arch.paths["stage32_1"] - 0.01 * priced
    moved = -after.arch.paths["stage32_1"] / PATH_RATE * jnp.ptp(costs["stage32_1"])
    np.testing.assert_allclose(moved, 4.0 * task + price * priced, atol=1e-5)  # τ is 4 at the first step
    gap = float(metrics["cost"]) / 4.0 - 1  # the target starts at 4 ms
    assert float(after.beta_control.gap) == pytest.approx(gap, rel=1e-5)
    assert float(metrics["losses"]["cost"]) == pytest.approx(4.0 * gap, rel=1e-5)


def test_masked_channels_have_a_task_gradient():
    """Latency off: every masked indicator of a group on the selected path still hears from the task."""
    _, arch = gradients_by_hand()
    state = state_of(SETUP)
    noise, _ = sampled(state.arch, 0)
    selected = PATHS[int(np.argmax(noise))]  # even logits: the noise alone decides
    found = 0
    for group in NETWORK.searched_groups:
        indicators = state.arch.widths[group.name]
        masked = np.asarray(binarize(indicators, group.floor, group.multiple)) == 0
        inside = group.name.startswith("stage32_1_")
        probability = float(1 / 3)
        kept = float((~masked).sum())
        slope = 0.01 * 2 * kept if not inside else 0.1 * 2 * kept * probability
        task = np.asarray(arch.widths[group.name]) - 0.01 * slope  # the latency is above its target
        if not inside or f"_{selected}." in group.name:
            assert np.all(np.abs(task[masked]) > 1e-9), group.name
            found += masked.sum()
        else:
            np.testing.assert_allclose(task, 0.0, atol=1e-6)
    assert found > 50


def test_frozen_paths_are_settled():
    """From 70 % on the most probable path is taken, whatever the noise says, and priced alone."""
    for step in (7, 8, 9):
        _, metrics = search_step()(state_of(SETUP, step=step, paths=[0.0, 0.1, 0.2]), batch_of(step))
        np.testing.assert_array_equal(metrics["paths"]["stage32_1"], [0, 0, 1])
    _, metrics = search_step()(state_of(SETUP, step=6, paths=[0.0, 0.1, 0.2]), batch_of(6))
    np.testing.assert_allclose(metrics["paths"]["stage32_1"], jax.nn.softmax(jnp.array([0.0, 0.1, 0.2])), rtol=1e-5)


def test_two_devices_compute_what_one_does_and_keep_no_second_state():
    placement = make_placement(MeshSpec())
    assert placement.division.pictures == 2
    state = state_of(SETUP)
    arguments = placement.put(state), placement.put_batch(batch_of(0)), None
    step = compile_step(SETUP, state, placement).lower(*arguments).compile()
    after, metrics = step(*arguments)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(arguments[0]))
    # Every byte of the new state is where the old one was.
    assert step.memory_analysis().alias_size_in_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(after))
    expected, expected_metrics = search_step()(state, batch_of(0))
    assert_close(after.params, expected.params, 2e-5)
    assert_close(after.batch_stats, expected.batch_stats, 2e-5)
    assert_close(after.arch, expected.arch, 2e-5)
    assert_close(metrics, expected_metrics, 2e-5)


def test_accumulation_averages_two_steps():
    """Weights wait for the second half batch and move by the mean of both gradients; statistics move each time."""
    plain = dataclasses.replace(SETUP, model=MODEL, search=None)
    waiting = dataclasses.replace(plain, optimizer=accumulated(optax.sgd(RATE), 2))
    halves = [batch_of(0, 2), batch_of(1, 2)]
    one = jax.jit(lambda state, batch: make_step(plain)(state, batch, None)[0])
    two = jax.jit(lambda state, batch: make_step(waiting)(state, batch, None)[0])
    start = state_of(waiting)
    middle = two(start, halves[0])
    jax.tree.map(np.testing.assert_array_equal, middle.params, start.params)
    assert np.any(
        middle.batch_stats["stem"]["conv"]["norm"]["mean"] != start.batch_stats["stem"]["conv"]["norm"]["mean"]
    )
    end = two(middle, halves[1])
    assert int(end.step) == 2
    moves = [jax.tree.map(jnp.subtract, one(state_of(plain), half).params, start.params) for half in halves]
    expected = jax.tree.map(lambda p, a, b: p + (a + b) / 2, start.params, *moves)
    assert_close(end.params, expected, 2e-5)


def test_the_teacher_gets_no_gradient_and_changes_the_student():
    """Its variables are an argument of their own; the loss does not depend on them as far as derivatives go."""
    from rtseg_jax.training.losses import segmentation_losses, total_loss

    rng = np.random.default_rng(0)
    student, teacher = (
        {
            "logits": jnp.asarray(rng.standard_normal((1, 4, 4, 3)), jnp.float32),
            "auxiliary": (jnp.asarray(rng.standard_normal((1, 4, 4, 3)), jnp.float32),),
        }
        for _ in range(2)
    )
    labels = jnp.zeros((1, 4, 4), jnp.uint8)

    def loss(student, teacher):
        return total_loss(segmentation_losses(student, labels, teacher, LossSpec(lam=1.0)), LossSpec(lam=1.0))

    to_student, to_teacher = jax.grad(loss, argnums=(0, 1))(student, teacher)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(to_teacher))
    without = jax.grad(lambda s: total_loss(segmentation_losses(s, labels, None, LossSpec()), LossSpec()))(student)
    assert np.abs(np.asarray(to_student["logits"] - without["logits"])).max() > 1e-4


def one_layer():
    """A convolution and a classifier."""
    image = Tensor("image", (fixed("image", 3),), IMAGE)
    b = Builder("head", "head", "head")
    x = b.conv("conv", image, b.group("out", 8), stride=2, activation="relu")
    x = b.conv("classifier", x, fixed("classes", 3), kernel=1, bias=True, norm=False)
    b.resize("logits", x, image)
    return Network(image, (b.build(),))


def test_only_the_last_steps_round():
    """Before, a step is the one without the option; from then on that of a network which always rounds."""
    network = one_layer()
    model = SegmentationNetwork(network)
    plain = StepSetup(model=model, optimizer=optax.sgd(RATE), loss=dataclasses.replace(LOSS, gamma=0.0), seed=3)
    last = dataclasses.replace(plain, rounding=(7, Integers()))
    always = dataclasses.replace(plain, rounding=(0, Integers()))
    step, never, rounded = (jax.jit(make_step(setup)) for setup in (last, plain, always))
    fresh = random_variables(network)
    params, stats = fresh["params"], fresh["batch_stats"]

    def state(number):
        return TrainState(jnp.int32(number), params, stats, plain.optimizer.init(params))

    batch = batch_of(0)
    for number, other in ((6, never), (7, rounded)):
        after, expected = step(state(number), batch, None)[0], other(state(number), batch, None)[0]
        assert_close(after.params, expected.params, 1e-5)
    one, two = (of(state(7), batch, None)[1]["losses"]["total"] for of in (never, rounded))
    assert 1e-4 < abs(float(one - two)) < 1
    assert "cond" not in str(jax.make_jaxpr(never)(state(0), batch, None))
