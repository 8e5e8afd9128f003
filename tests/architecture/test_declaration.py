"""Groups, tensors, specs and the decision's file."""

import dataclasses
import json

import pytest

from rtseg_jax.architecture import MIXED, ArchSpec, Group, Tensor, declare, declare_spec
from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import ONE_PIXEL, Strided
from rtseg_jax.errors import UserError
from rtseg_jax.zoo import BiSeNetV2, RTSeg

SPEC = RTSeg(3, width=0.25, segment_blocks=(1, 0, 1), head_width=8)


def full_spec(path: str = MIXED) -> ArchSpec:
    network = declare(SPEC)
    paths = {mixed.name: path for mixed in network.mixed_blocks}
    keep = {group.name: group.size for group in network.searched_groups}
    if path != MIXED:
        other = {"lir": ("_mhsa.",), "mhsa": ("_lir.",), "skip": ("_mhsa.", "_lir.")}[path]
        keep = {name: size for name, size in keep.items() if not any(part in name for part in other)}
    return ArchSpec(SPEC, keep, paths)


# --- groups and tensors ---


@pytest.mark.parametrize(
    ("size", "unit", "floor", "multiple"),
    [(16, 1, 4, 4), (3, 1, 3, 4), (8, 2, 2, 2), (4, 8, 1, 1), (4, 3, 2, 1), (1, 32, 1, 1)],
)
def test_floor_and_multiple(size, unit, floor, multiple):
    group = Group("g", size, unit)
    assert (group.floor, group.multiple) == (floor, multiple)


def test_snap_rounds_up_within_floor_and_size():
    group = Group("g", 10)
    assert [group.snap(kept) for kept in range(12)] == [4, 4, 4, 4, 4, 8, 8, 8, 8, 10, 10, 10]
    heads = Group("heads", 3, unit=8)
    assert [heads.snap(kept) for kept in range(5)] == [1, 1, 2, 3, 3]


def test_sizes_round_up():
    assert Tensor("t", (), Strided(8)).size((33, 65)) == (5, 9)
    assert Tensor("t", (), ONE_PIXEL).size((33, 65)) == (1, 1)


def test_channels_are_multiples_of_8():
    assert [RTSeg(2, width=w).channels(64) for w in (0.01, 0.5, 0.7, 1.0, 2.19)] == [8, 32, 48, 64, 144]


# --- what is tied to what ---


def test_residual_sums_share_a_group_and_concatenations_keep_apart():
    network = declare(RTSeg(3, width=0.5))
    stage = {
        name: [b.output.groups for b in network.blocks if b.name.startswith(name)] for name in ("stage8", "stage16")
    }
    for name, groups in stage.items():
        assert {g.name for (g,) in groups} == {name}
    stem = next(block for block in network.blocks if block.name == "stem")
    concat = next(op for op in stem.ops if op.name == "concat")
    assert [group.name for group in concat.output.groups] == ["stem.left_2", "stem.conv"]


def test_never_searched():
    searched = {group.name for group in declare(SPEC).searched_groups}
    assert not {"image", "classes"} & searched
    assert not any(name.startswith("auxiliary") for name in searched)
    assert declare(BiSeNetV2(3, width=0.25)).searched_groups == ()


def test_groups_of_an_attention_path():
    network = declare(RTSeg(3, width=1.0, segment_blocks=(1, 0, 0), patch_sizes=(2, 1, 1)))
    groups = {group.name: group for group in network.groups if "_mhsa" in group.name}
    # 32 channels at 1/8, P = 2: tokens are 128 wide, four heads of 32, an MLP of 512
    assert {name: (group.size, group.unit) for name, group in groups.items()} == {
        "stage8_1_mhsa.tokens": (128, 1),
        "stage8_1_mhsa.heads": (4, 32),
        "stage8_1_mhsa.hidden": (512, 1),
    }


def test_tensors_of_a_block_have_names_of_their_own():
    for block in declare(RTSeg(3, width=0.5)).plain_blocks:
        names = [op.name for op in block.ops]
        assert len(set(names)) == len(names)
        assert all(op.output.name == f"{block.name}.{op.name}" for op in block.ops)


def test_block_inputs_are_what_others_wrote():
    network = declare(RTSeg(3, width=0.5, segment_blocks=(0, 0, 0)))
    inputs = {block.name: [tensor.name for tensor in block.inputs] for block in network.plain_blocks}
    assert inputs["aggregation"] == ["detail_3_3.conv", "context.conv"]
    assert inputs["head"] == ["aggregation.conv", "image"]
    assert inputs["stage8_down"] == ["stem.fuse"]


def test_a_builder_reads_the_groups_that_it_is_given():
    x = Tensor("x", (Group("x", 4),), Strided(2))
    builder = Builder("b", "conv", "detail", Group)
    y = builder.conv("one", x, builder.group("wide", 8), stride=2)
    z = builder.conv("two", y)
    assert (y.extent, y.channels, z.groups) == (Strided(4), 8, y.groups)
    assert [op.depthwise for op in builder.build().ops] == [False, True]


# --- the decision ---


def test_skipped_blocks_leave_nothing_behind():
    network = declare_spec(full_spec("skip"))
    assert network.mixed_blocks == ()
    assert not any("_lir" in block.name or "_mhsa" in block.name for block in network.plain_blocks)


def test_taken_path_replaces_the_choice():
    network = declare_spec(full_spec("mhsa"))
    names = [block.name for block in network.blocks]
    assert "stage8_1_mhsa" in names
    assert "stage32_1_mhsa" in names
    assert not any("_lir" in name for name in names)


def test_mixed_and_full_is_the_supernet():
    assert declare_spec(full_spec(MIXED)) == declare(SPEC)


def test_json_round_trip(tmp_path):
    spec = full_spec("lir")
    path = tmp_path / "architecture.json"
    spec.save(path)
    assert ArchSpec.load(path) == spec
    assert ArchSpec.from_json(json.loads(path.read_text())).digest == spec.digest
    assert [file.name for file in tmp_path.iterdir()] == ["architecture.json"]


def test_digest_tells_architectures_apart_and_ignores_order():
    spec = full_spec("lir")
    backwards = ArchSpec(SPEC, dict(reversed(spec.widths.items())), dict(reversed(spec.paths.items())))
    assert backwards.digest == spec.digest
    assert len(spec.digest) == 12
    others = [
        dataclasses.replace(spec, widths={**spec.widths, "stage8": 4}),
        dataclasses.replace(spec, paths={**spec.paths, "stage8_1": "skip"}),
        dataclasses.replace(spec, network=dataclasses.replace(SPEC, dropout=0.2)),
    ]
    assert len({spec.digest, *(other.digest for other in others)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": {"nonsense": 8}}, "nonsense is no part of this supernet"),
        ({"widths": {"stage8": None}}, "no width for channel group stage8"),
        ({"widths": {"stage8": 12}}, "width of stage8 is 12; it must be a whole number from 1 to 8"),
        ({"widths": {"stage8": 0}}, "width of stage8 is 0"),
        ({"paths": {"stage8_1": "left"}}, "path of stage8_1 is 'left'; it must be one of skip, lir, mhsa"),
        ({"paths": {"stage8_1": None}}, "path of stage8_1 is None"),
        ({"paths": {"stage64_1": "skip"}}, "stage64_1 is no part of this supernet"),
    ],
)
def test_decisions_that_do_not_fit(change, message):
    spec = full_spec("lir")
    changed = {}
    for field in ("widths", "paths"):
        values = {**getattr(spec, field), **change.get(field, {})}
        changed[field] = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(UserError, match=message):
        declare_spec(dataclasses.replace(spec, **changed))


@pytest.mark.parametrize(
    "content",
    ["not json", "[]", "{}", '{"network": {}, "widths": {}, "paths": {}}', "\x00", '"text"'],
)
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "architecture.json"
    path.write_text(content)
    with pytest.raises(UserError, match="not an architecture file"):
        ArchSpec.load(path)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "architecture.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not an architecture file"):
        ArchSpec.load(path)
    path.write_text(json.dumps({**full_spec("lir").to_json(), "widths": "abc"}))
    with pytest.raises(UserError, match="not an architecture file"):
        ArchSpec.load(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        ArchSpec.load(tmp_path / "architecture.json")
    with pytest.raises(UserError, match="not an architecture file"):
        ArchSpec.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1"),
        ({"width": 0.0}, "width is 0.0"),
    ],
)
def test_specs_that_cannot_work(settings, message):
    with pytest.raises(UserError, match=message):
        RTSeg(**{"num_classes": 3, **settings})


def test_proportions_by_hand():
    spec = RTSeg(
        3,
        width=1.0,
        detail_blocks=(1, 2, 3),
        segment_blocks=(0, 1, 0),
        stem_width=2.0,
        stage_widths=(0.5, 2.0, 3.0),
        head_channels=512,
        expansion=1,
    )
    sizes = {group.name: group.size for group in declare(spec).groups}
    detail = {name: size for name, size in sizes.items() if name.startswith("detail")}
    assert detail == {
        "detail_1_1": 64,
        "detail_2_1": 64,
        "detail_2_2": 64,
        "detail_3_1": 128,
        "detail_3_2": 128,
        "detail_3_3": 128,
    }
    assert [sizes[f"stem.{name}"] for name in ("conv", "left_1", "left_2", "fuse")] == [32, 16, 32, 32]
    assert [sizes[name] for name in ("stage8", "stage16", "stage32", "context")] == [16, 128, 384, 384]
    assert (sizes["stage16_1_lir.conv"], sizes["head.conv"]) == (128, 512)
    for name, value in (("stem_width", 0.0), ("stage_widths", (1.0, 0.0, 1.0)), ("detail_blocks", (0, 3, 3))):
        with pytest.raises(UserError, match=f"network.{name}"):
            RTSeg(3, **{name: value})
