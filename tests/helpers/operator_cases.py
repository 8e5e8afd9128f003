"""Every operator in use: small blocks, each named after the operator that it is about."""

from rtseg_jax.architecture import Builder, Group, Tensor, operators
from rtseg_jax.architecture.builder import fixed
from rtseg_jax.architecture.extents import Bins, Line, Rows, Scaled, Strided

SIZE = (14, 10)
"""Of the image; the tensors below are half as large."""

X = Tensor("x", (Group("a", 8), Group("b", 4)), Strided(2))
Y = Tensor("y", (Group("a", 8), Group("b", 4)), Strided(2))
COARSE = Tensor("coarse", (Group("a", 8), Group("b", 4)), Strided(4))
ONE = Tensor("one", (fixed("one", 1),), Strided(2))
HEADS = Tensor("heads", (Group("heads", 3, 4),), Strided(2))
KEYS = Tensor("keys", (Group("heads", 3, 4),), Strided(4))
VALUES = Tensor("values", (Group("heads", 3, 2),), Strided(4))
WHOLE = Tensor("whole", (Group("w", 6, 2),), Strided(2))  # whole groups of a grouped convolution
FIXED = Tensor("fixed", (fixed("left", 6), fixed("right", 6)), Strided(2))
FLOW = Tensor("flow", (fixed("flow", 2),), Strided(2))
ROWS = Tensor("rows", (Group("a", 8), Group("b", 4)), Line("rows", Strided(2)))
COLUMNS = Tensor("columns", (Group("a", 8), Group("b", 4)), Line("columns", Strided(2)))
CELLS = Tensor("cells", (fixed("cells", 6),), Bins(8, 9))  # 2 × 3 cells of 4 × 3 pixels
KERNELS = Tensor("kernels", (fixed("kernels", 24),), Bins(2, 3))
FRAMED = Tensor("framed", (fixed("framed", 6),), Bins(12, 15))
DEPTHWISE_KERNELS = Tensor("depthwise_kernels", (fixed("depthwise_kernels", 54),), Bins(2, 3))
PIXELS = 7 * 5
COARSE_PIXELS = 4 * 3


def unpooled(b):
    """Another map brought back to where the maxima were."""
    return b.unpool("op", COARSE, X, b.pool("pooled", X, "max", window=2))


CASES = {
    # name: (operator, what is written, multiply-accumulates worked out by hand)
    "conv": (operators.Conv, lambda b: b.conv("op", X, b.group("out", 8), activation="relu"), PIXELS * 9 * 12 * 8),
    "conv_bias_norm": (
        operators.Conv,
        lambda b: b.conv("op", X, b.group("out", 8), kernel=1, bias=True, epsilon=1e-3, activation="prelu"),
        PIXELS * 12 * 8,
    ),
    "conv_asymmetric": (
        operators.Conv,
        lambda b: b.conv("op", X, b.group("out", 8), kernel=(3, 1), dilation=2, padding="centred", norm=False),
        PIXELS * 3 * 12 * 8,
    ),
    "conv_unpadded": (
        operators.Conv,
        lambda b: b.conv("op", X, b.group("out", 8), stride=2, padding="VALID"),
        3 * 2 * 9 * 12 * 8,
    ),
    "conv_even": (
        operators.Conv,
        lambda b: b.conv("op", X, b.group("out", 4), kernel=1, padding=((1, 1), (1, 1)), norm=False),
        9 * 7 * 12 * 4,
    ),
    "conv_centred_stride": (
        operators.Conv,
        lambda b: b.conv("op", X, b.group("out", 8), stride=2, padding="centred", norm=False),
        COARSE_PIXELS * 9 * 12 * 8,
    ),
    "conv_grouped": (
        operators.Conv,
        lambda b: b.conv("op", WHOLE, WHOLE.groups[0].widened(2), groups=6, norm=False),
        PIXELS * 9 * 2 * 24,
    ),
    "conv_few_groups": (
        operators.Conv,
        lambda b: b.conv("op", FIXED, fixed("out", 8), groups=4, kernel=1, norm=False),
        PIXELS * 3 * 8,
    ),
    "conv_groups_of_one_output": (
        operators.Conv,
        lambda b: b.conv("op", FIXED, fixed("out", 4), groups=4, dilation=2, norm=False),
        PIXELS * 9 * 3 * 4,
    ),
    "conv_depthwise": (
        operators.Conv,
        lambda b: b.conv("op", X, kernel=(1, 3), dilation=2, padding="centred", activation="relu6"),
        PIXELS * 3 * 12,
    ),
    "conv_depthwise_stride": (operators.Conv, lambda b: b.conv("op", X, stride=2), COARSE_PIXELS * 9 * 12),
    "conv_multiplied": (
        operators.Conv,
        lambda b: b.conv("op", WHOLE, WHOLE.groups[0].widened(3), groups=12, norm=False),
        PIXELS * 9 * 36,
    ),
    "conv_shared": (
        operators.Conv,
        lambda b: b.conv("op_2", b.conv("op", X, X.groups, bias=True), X.groups, bias=True, shared="op"),
        2 * PIXELS * 9 * 12 * 12,
    ),
    "transpose": (
        operators.ConvTranspose,
        lambda b: b.transpose("op", COARSE, b.group("out", 8), kernel=2, stride=2, like=X),
        COARSE_PIXELS * 4 * 12 * 8,
    ),
    "transpose_overlapping": (
        operators.ConvTranspose,
        lambda b: b.transpose("op", X, b.group("out", 4), kernel=3, stride=2, bias=True, activation="relu"),
        PIXELS * 9 * 12 * 4,
    ),
    "transpose_at_stride_1": (
        operators.ConvTranspose,
        lambda b: b.transpose("op", X, b.group("out", 4), kernel=3, stride=1, norm=False),
        PIXELS * 9 * 12 * 4,
    ),
    "norm": (operators.BatchNorm, lambda b: b.norm("op", X, "prelu"), 0),
    "layer_norm": (operators.LayerNorm, lambda b: b.layer_norm("op", X, 1e-6), 0),
    "unit_norm": (operators.UnitNorm, lambda b: b.unit_norm("op", X), 0),
    "attention": (
        operators.Attention,
        lambda b: b.attention("op", HEADS, KEYS, VALUES),
        PIXELS * COARSE_PIXELS * (12 + 6),
    ),
    "attention_unscaled": (
        operators.Attention,
        lambda b: b.attention("op", HEADS, HEADS, HEADS, scale=1.0),
        PIXELS * PIXELS * (12 + 12),
    ),
    "position_of_rows": (operators.Position, lambda b: b.position("op", ROWS, "rows", 3), 0),
    "position_of_columns": (operators.Position, lambda b: b.position("op", COLUMNS, "columns", 8), 0),
    "linear_attention": (
        operators.LinearAttention,
        lambda b: b.linear_attention("op", HEADS, KEYS, VALUES),
        (PIXELS + COARSE_PIXELS) * 12 * 6,
    ),
    "add": (operators.Add, lambda b: b.sum("op", X, Y, activation="prelu"), 0),
    **{name: (operators.Activate, lambda b, name=name: b.activate("op", X, name), 0) for name in operators.ACTIVATIONS},
    "gate": (operators.Gate, lambda b: b.gate("op", X, ONE), 0),
    "gate_complement": (operators.Gate, lambda b: b.gate("op", X, Y, "hard_sigmoid", complement=True), 0),
    "multiply": (operators.Gate, lambda b: b.gate("op", X, Y, None), 0),
    "concat": (operators.Concat, lambda b: b.concat("op", X, ONE, HEADS), 0),
    "split": (operators.Split, lambda b: b.split("op", X, 1, 2), 0),
    "shuffle": (operators.Shuffle, lambda b: b.shuffle("op", FIXED, 3), 0),
    "pad_channels": (operators.PadChannels, lambda b: b.pad_channels("op", X, 20), 0),
    "resize_like": (operators.Resize, lambda b: b.resize("op", COARSE, X), 0),
    "resize_by": (operators.Resize, lambda b: b.resize("op", X, Scaled(3, 2), align_corners=True), 0),
    "resize_to_one": (operators.Resize, lambda b: b.resize("op", X, Scaled(1, 7), align_corners=True), 0),
    "resize_nearest": (operators.Resize, lambda b: b.resize("op", COARSE, X, "nearest"), 0),
    "resize_repeat": (operators.Resize, lambda b: b.resize("op", X, Scaled(2), "nearest"), 0),
    "max_pool": (operators.Pool, lambda b: b.pool("op", X, "max", padding="centred"), 0),
    "max_pool_2": (operators.Pool, lambda b: b.pool("op", X, "max", window=2, padding="VALID"), 0),
    "average_pool": (operators.Pool, lambda b: b.pool("op", X, "average", padding="centred"), 0),
    "average_pool_inside": (
        operators.Pool,
        lambda b: b.pool("op", X, "average", padding="centred", count_padding=False),
        0,
    ),
    "average_pool_uneven": (
        operators.Pool,
        lambda b: b.pool("op", X, "average", window=(4, 3), stride=(3, 1), padding="VALID"),
        0,
    ),
    "average_pool_cut": (
        operators.Pool,
        lambda b: b.pool("op", X, "average", window=(9, 3), stride=(4, 2), padding="VALID", cut=True),
        0,
    ),
    "bins": (operators.AdaptivePool, lambda b: b.bins("op", X, 3), 0),
    "bins_of_another_map": (operators.AdaptivePool, lambda b: b.bins("op", X, COARSE), 0),
    "bins_that_divide": (operators.AdaptivePool, lambda b: b.bins("op", X, Scaled(1, 5)), 0),
    "bins_of_rows": (operators.AdaptivePool, lambda b: b.bins("op", X, Line("rows")), 0),
    "bins_by_aspect": (operators.AdaptivePool, lambda b: b.bins("op", X, Rows(4)), 0),
    "global_mean": (operators.GlobalMean, lambda b: b.mean("op", X), 0),
    "unpool": (operators.Unpool, unpooled, 0),
    **{
        f"channel_{kind}": (operators.ChannelReduce, lambda b, kind=kind: b.reduce_channels("op", X, kind), 0)
        for kind in ("sum", "mean", "max")
    },
    "warp": (operators.Warp, lambda b: b.warp("op", COARSE, FLOW), 0),
    "coordinates": (operators.Coordinates, lambda b: b.coordinates("op", X), 0),
    "patches": (operators.Patches, lambda b: b.patches("op", CELLS, KERNELS, Bins(12, 15)), 0),
    "cell_conv": (operators.CellConv, lambda b: b.cell_conv("op", CELLS, KERNELS, fixed("out", 4)), 8 * 9 * 6 * 4),
    "cell_depthwise": (
        operators.CellDepthwise,
        lambda b: b.cell_depthwise("op", FRAMED, DEPTHWISE_KERNELS, Bins(8, 9)),
        8 * 9 * 9 * 6,
    ),
    "dropout": (operators.Dropout, lambda b: b.dropout("op", X, 0.5), 0),
    "drop_path": (operators.Dropout, lambda b: b.drop_path("op", X, 0.5), 0),
}


def block_of(name):
    """The block of a case."""
    builder = Builder(name, "case", "segment")
    CASES[name][1](builder)
    return builder.build()
