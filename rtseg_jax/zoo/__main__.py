"""Lists the networks of the zoo, or describes one of them.

examples:
    rtseg_jax zoo
    rtseg_jax zoo fast_scnn --classes=11 --size=360x480
"""

from absl import flags
from rich.console import Console
from rich.table import Table

from rtseg_jax.architecture import Network, NetworkSpec, counts, declare, network_class, network_classes
from rtseg_jax.architecture.extents import Size
from rtseg_jax.architecture.network_spec import Score
from rtseg_jax.command_line import Command, parse_size
from rtseg_jax.errors import UserError

WIDTH = 140  # characters


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_integer("classes", 19, "Classes that are predicted.", lower_bound=2, flag_values=values)
    flags.DEFINE_string("size", "512x1024", "HEIGHTxWIDTH: size of the picture.", flag_values=values)


def main(names: list[str], values: flags.FlagValues) -> None:
    """Describes the network that is named, or shows the table of all."""
    console = Console(width=WIDTH, color_system=None, highlight=False)
    size = parse_size("size", values.size)
    if not names:
        console.print(networks_table(values.classes, size))
    elif len(names) == 1:
        describe(network_class(names[0])(values.classes), size, console)
    else:
        raise UserError(f"{len(names)} networks were named: name one, or none for the table of all")


COMMAND = Command(__doc__ or "", define_flags, main, words="[NETWORK]")


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


def networks_table(num_classes: int, size: Size) -> Table:
    """A row for each network."""
    table = Table(title=f"Networks of {num_classes} classes at {size[0]}×{size[1]}", title_justify="left")
    for column in ("name", "network", "taxonomy", "parameters", "GMACs", "published mIoU (%)"):
        table.add_column(column, justify="right" if column in ("parameters", "GMACs") else "left")
    for name, spec in sorted(network_classes().items()):
        network = declare(spec(num_classes))
        published = spec.published
        scores = "; ".join(map(score_text, published.scores)) or "–"
        numbers = f"{counts.parameters(network):,}", f"{counts.macs(network, size) / 1e9:.3f}"
        table.add_row(name, f"{published.title} ({published.paper})", published.taxonomy or "–", *numbers, scores)
    return table


def score_text(score: Score) -> str:
    """A published score with where it comes from."""
    return f"{score.miou:g} {score.data_set} {score.split} [{score.source}]".replace("[", "\\[")


def describe(spec: NetworkSpec, size: Size, console: Console) -> None:
    """What a network is, where its weights and its work are."""
    published, network = spec.published, declare(spec)
    console.print(f"{published.title} ({published.paper}): {published.variant}")
    for score in published.scores:
        console.print(f"  mIoU {score_text(score)}, {score.start}")
    console.print(parts_table(network, size))
    stride = -(-size[0] // _raw_rows(network, size))
    console.print(f"class map at 1/{stride} before the last resize; {len(network.auxiliary)} auxiliary heads")


def parts_table(network: Network, size: Size) -> Table:
    """Parameters and multiply-accumulates by part."""
    parameters = counts.by_part(network, counts.block_parameters)
    macs = counts.by_part(network, lambda block: counts.block_macs(block, size))
    table = Table(title=f"at {size[0]}×{size[1]}", title_justify="left")
    for column in ("part", "blocks", "parameters", "GMACs"):
        table.add_column(column, justify="left" if column == "part" else "right")
    blocks = counts.by_part(network, lambda block: 1)
    for part, number in parameters.items():
        table.add_row(part, str(blocks[part]), f"{number:,}", f"{macs[part] / 1e9:.3f}")
    table.add_section()
    total = sum(parameters.values())
    table.add_row("inference network", str(len(network.plain_blocks)), f"{total:,}", f"{sum(macs.values()) / 1e9:.3f}")
    return table


def _raw_rows(network: Network, size: Size) -> int:
    """Rows of what the last operator, a resize, reads."""
    height, _ = network.plain_blocks[-1].ops[-1].inputs[0].size(size)
    return height


if __name__ == "__main__":
    run()
