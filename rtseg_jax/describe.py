"""What a config would build, told without data and without weights."""

import io
import math
from collections import Counter

import jax
from rich.console import Console
from rich.table import Table

from rtseg_jax.architecture import Block, Group, Network, counts, declare, operators
from rtseg_jax.architecture.graph import Op
from rtseg_jax.config import RunSpec
from rtseg_jax.latency import unit_of_device
from rtseg_jax.phase_names import phases_of
from rtseg_jax.training.teaching import teacher_of

TRAINING_PHASES = ("train", "pretrain", "search", "finetune", "uniform")

Size = tuple[int, int]


def describe(spec: RunSpec) -> str:
    """Tables of the network, its search space, memory, schedule and target, as plain text."""
    network = declare(spec.network)
    buffer = io.StringIO()
    console = Console(file=buffer, width=100, color_system=None)
    console.print(_parts_table(network, spec.data.eval_size))
    if network.mixed_blocks:
        console.print(_attention_table(network, spec))
    if not spec.searches:
        console.print(_memory_table(network, spec, jax.device_count()))
        console.print(_schedule_table(spec))
        return _text(buffer)
    space = f"{len(network.mixed_blocks)} mixed blocks, {len(network.searched_groups)} channel groups"
    console.print(f"Search space: 10^{search_space_log10(network):.1f} architectures ({space})\n", highlight=False)
    console.print(_memory_table(network, spec, jax.device_count()))
    console.print(_schedule_table(spec))
    console.print(_target(spec), highlight=False)
    return _text(buffer)


def _text(buffer: io.StringIO) -> str:
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def search_space_log10(network: Network) -> float:
    """log₁₀ of the number of architectures: allowed widths of every searched group, times paths of mixed blocks.

    Widths inside a path that is not taken are counted too: this is the number of points that the search moves among.
    """
    widths = sum(math.log10(len(allowed_widths(group))) for group in network.searched_groups)
    return widths + sum(math.log10(len(mixed.choices)) for mixed in network.mixed_blocks)


def allowed_widths(group: Group) -> tuple[int, ...]:
    """Numbers of indicators that a decision may keep."""
    return tuple(sorted({group.snap(kept) for kept in range(1, group.size + 1)}))


def groups_by_part(network: Network) -> dict[str, tuple[Group, ...]]:
    """Searched groups by the part that writes them first."""
    result: dict[str, dict[Group, None]] = {}
    seen: set[Group] = set()
    for block in network.plain_blocks:
        groups = dict.fromkeys(group for op in block.ops for group in op.output.groups if group.searched)
        result.setdefault(block.part, {}).update({group: None for group in groups if group not in seen})
        seen.update(groups)
    return {part: tuple(groups) for part, groups in result.items()}


def training_elements(network: Network, image_size: Size, rematerialize: bool = False) -> int:
    """Numbers kept for the backward pass of one picture; an estimate.

    Counted is what a derivative needs: the output of every operator, once more where batch norm follows a convolution
    (before and after it), and the attention weights. XLA recomputes some of it, fuses some of it away, and needs space
    of its own: for configs/quickstart.py as shipped first it reserved 95.0 MB on a CPU, where this says 98.5. Where
    blocks are rematerialized, what they hand on is left, and what is inside the largest.
    """
    blocks = (*network.plain_blocks, *network.auxiliary)
    inside = [sum(kept_elements(op, image_size) for op in block.ops) for block in blocks]
    if not rematerialize:
        return sum(inside)
    return sum(counts.pixels(block.output, image_size) * block.output.channels for block in blocks) + max(inside)


def kept_elements(op: Op, image_size: Size) -> int:
    """Numbers that an operator keeps for its derivative, for one picture."""
    elements = counts.pixels(op.output, image_size) * op.output.channels
    if isinstance(op, operators.Attention):
        return elements + op.heads.size * op.scores(image_size)
    normalized = {"kernel", "scale"} <= {weight.role for weight in op.weights}
    return (2 if normalized else 1) * elements


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _parts_table(network: Network, image_size: Size) -> Table:
    height, width = image_size
    parameters = counts.by_part(network, counts.block_parameters)
    macs = counts.by_part(network, lambda block: counts.block_macs(block, image_size))
    groups = groups_by_part(network)
    title = f"Network at {height}×{width}"
    table = _table(title, "part", "parameters (M)", "GMACs", "channel groups", "indicators")
    for part in parameters:
        table.add_row(part, *_part_cells(parameters[part], macs[part], groups[part]))
    table.add_section()
    all_groups = tuple(group for part in groups.values() for group in part)
    table.add_row("inference network", *_part_cells(sum(parameters.values()), sum(macs.values()), all_groups))
    table.add_row(
        "auxiliary heads (training only)",
        *_part_cells(
            sum(counts.block_parameters(block) for block in network.auxiliary),
            sum(counts.block_macs(block, image_size) for block in network.auxiliary),
            (),
        ),
    )
    return table


def _part_cells(parameters: int, macs: int, groups: tuple[Group, ...]) -> tuple[str, ...]:
    indicators = sum(group.size for group in groups)
    return (f"{parameters / 1e6:.3f}", f"{macs / 1e9:.3f}", str(len(groups)), f"{indicators:,}")


def _attention_table(network: Network, spec: RunSpec) -> Table:
    sizes = tuple(dict.fromkeys((spec.data.train_size, spec.data.eval_size)))
    tokens = (f"tokens at {height}×{width}" for height, width in sizes)
    table = _table("Attention", "stage", "blocks", "patch", *tokens, "token width", "heads")
    blocks = [block for block in network.plain_blocks if block.kind == "mhsa"]
    number = Counter(_attention_row(block, *sizes) for block in blocks)
    for (stage, *cells), count in number.items():
        table.add_row(stage, str(count), *cells)
    return table


def _attention_row(block: Block, *image_sizes: Size) -> tuple[str, ...]:
    embed = block.ops[0].output
    attention = next(op for op in block.ops if isinstance(op, operators.Attention))
    height, _ = block.output.size(image_sizes[0])
    stride, patch = image_sizes[0][0] // height, -(-height // embed.size(image_sizes[0])[0])
    tokens = ("{} × {} = {}".format(*embed.size(size), counts.pixels(embed, size)) for size in image_sizes)
    heads = str(attention.output.groups[0].size)
    return (f"1/{stride}", str(patch), *tokens, str(embed.channels), heads)


def _memory_table(network: Network, spec: RunSpec, devices: int) -> Table:
    """Estimated memory of a training step; pictures are divided, kernels by `config.mesh.fsdp`.

    Where they are, the step gathers them: whole weights and gradients are there as well for a while.
    """
    weights = 4 * (counts.parameters(network) + sum(counts.block_parameters(block) for block in network.auxiliary))
    bytes_per_number = 2 if spec.train.bfloat16 else 4
    one = bytes_per_number * training_elements(network, spec.data.train_size, spec.train.rematerialize)
    pictures = spec.train.batch_size / devices
    share = 1 / spec.mesh.fsdp
    copies = {"parameters": share, "gradients": 1, "momentum": share}
    if spec.mesh.fsdp > 1:
        copies["gathered parameters"] = 1
    if spec.train.accumulate > 1:
        copies["accumulated gradients"] = share
    if spec.loss.of_supernet.lam > 0:
        copies["teacher (search)"] = share
    table = _table(f"Estimated training memory per device, of {devices}", "what", "MB")
    sizes = {name: number * weights for name, number in copies.items()}
    if (teacher := teacher_of(spec)) is not None:
        sizes["teacher"] = 4 * sum(counts.block_parameters(block) for block in teacher.every_block)
    for name, size in sizes.items():
        table.add_row(name, f"{size / 1e6:,.0f}")
    table.add_row(f"activations of {pictures:g} pictures ({one / 1e6:,.0f} MB each)", f"{pictures * one / 1e6:,.0f}")
    table.add_section()
    table.add_row("sum", f"{(sum(sizes.values()) + pictures * one) / 1e6:,.0f}")
    return table


def _schedule_table(spec: RunSpec) -> Table:
    table = _table("Schedule", "phase", "steps", "pictures", "learning rate", "runs")
    own = phases_of(spec.network.name)
    for phase in (phase for phase in TRAINING_PHASES if phase in own):
        steps = spec.train.steps(phase)
        pictures = f"{steps * spec.train.batch_size:,}"
        runs = "yes" if phase in spec.phases else "no"
        table.add_row(phase, f"{steps:,}", pictures, f"{spec.train.rate(phase):g}", runs)
    return table


def _target(spec: RunSpec) -> str:
    latency = spec.latency
    height, width = latency.image_size
    if (budget := spec.budget) is not None:
        return f"Target: {budget.target:g} {budget.aim.unit} at {height}×{width}"
    threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    where = f"at {height}×{width} on {latency.device}, {threads}"
    unit = unit_of_device(latency.device)
    if latency.target_ms is not None:
        return f"Latency target: {latency.target_ms:g} {unit} {where}"
    own = "" if unit == "ms" else f" {unit}"
    return f"Latency target: {latency.target_fraction:g} of the supernet's own{own}, {where}"
