"""From a specification to the declaration of a network: the supernet, or one that was cut out of it."""

from collections.abc import Mapping

from rtseg_jax.architecture import blocks
from rtseg_jax.architecture.arch_spec import PATHS, ArchSpec
from rtseg_jax.architecture.builder import Builder
from rtseg_jax.architecture.extents import IMAGE
from rtseg_jax.architecture.graph import MIXED, Block, Group, Mixed, Network, Tensor
from rtseg_jax.architecture.network_spec import STAGE_STRIDES, NetworkSpec
from rtseg_jax.errors import UserError

DETAIL = (64, 64, 128)  # detail branch at 1/2, 1/4, 1/8; channels at width 1.0, as everywhere here
STEM, STEM_LEFT = 16, 8
STAGES = (32, 64, 128)  # segment branch at 1/8, 1/16, 1/32
AGGREGATION = 128


def declare_spec(arch: ArchSpec) -> Network:
    """The network of an architecture that was decided."""
    return declare(arch.network, arch.widths, arch.paths)


def declare(
    spec: NetworkSpec, widths: Mapping[str, int] | None = None, paths: Mapping[str, str] | None = None
) -> Network:
    """Declares the supernet of `spec`, or what is left of it at the given widths and paths.

    Args:
      spec: shape of the supernet.
      widths: kept indicators of every searched group; all of them where None.
      paths: decision for every mixed block; none is taken where None.

    Raises:
      UserError: widths or paths do not fit the supernet.
    """
    if widths is not None:
        _check_widths(spec, widths)
    return _Declaration(spec, widths, paths).network()


def _check_widths(spec: NetworkSpec, widths: Mapping[str, int]) -> None:
    for group in declare(spec).searched_groups:
        width = widths.get(group.name, group.size)
        if not isinstance(width, int) or not 1 <= width <= group.size:
            raise UserError(
                f"architecture: width of {group.name} is {width}; it must be a whole number from 1 to {group.size}"
            )


class _Declaration:
    def __init__(self, spec: NetworkSpec, widths: Mapping[str, int] | None, paths: Mapping[str, str] | None):
        self.spec, self.widths, self.paths = spec, widths, paths
        self.image = Tensor("image", (Group("image", 3, searched=False),), IMAGE)
        self.classes = Group("classes", spec.num_classes, searched=False)
        self.seen: set[str] = set()

    def network(self) -> Network:
        detail = self.detail_branch()
        segment, auxiliary, segment_output = self.segment_branch()
        joint, out = self.base_group("aggregation.joint", AGGREGATION), self.base_group("aggregation.out", AGGREGATION)
        builder = self.builder("aggregation", "aggregation", "aggregation")
        aggregation = blocks.aggregation_block(builder, detail[-1].output, segment_output, joint, out)
        builder = self.builder("head", "head", "head")
        hidden = self.base_group("head.conv", self.spec.head_channels)
        head = blocks.head_block(builder, aggregation.output, self.image, hidden, self.classes, self.spec.dropout)
        self.refuse_leftovers()
        return Network(self.image, (*detail, *segment, aggregation, head), auxiliary)

    def group(self, name: str, size: int, unit: int = 1) -> Group:
        searched = self.spec.block != "gather_expansion"
        self.seen.add(name)
        if self.widths is None or not searched:
            return Group(name, size, unit, searched)
        if name not in self.widths:
            raise UserError(f"architecture: no width for channel group {name}; it belongs to another supernet")
        return Group(name, self.widths[name], unit, searched)

    def base_group(self, name: str, base: float) -> Group:
        return self.group(name, self.spec.channels(base))

    def builder(self, name: str, kind: str, part: str) -> Builder:
        return Builder(name, kind, part, self.group)

    def detail_branch(self) -> tuple[Block, ...]:
        result, x = [], self.image
        for stage, (base, layers) in enumerate(zip(DETAIL, self.spec.detail_blocks, strict=True), start=1):
            for layer in range(1, layers + 1):
                name = f"detail_{stage}_{layer}"
                out = self.base_group(name, base)
                block = blocks.conv_block(self.builder(name, "conv", "detail"), x, out, 2 if layer == 1 else 1)
                result.append(block)
                x = block.output
        return tuple(result)

    def segment_branch(self) -> tuple[list[Block | Mixed], tuple[Block, ...], Tensor]:
        channels = self.spec.channels
        stages = [base * factor for base, factor in zip(STAGES, self.spec.stage_widths, strict=True)]
        stem = blocks.stem_block(
            self.builder("stem", "stem", "segment"), self.image, channels(STEM), channels(STEM_LEFT)
        )
        result: list[Block | Mixed] = [stem]
        auxiliary = []
        x = stem.output
        for index, base in enumerate(stages):
            stride = STAGE_STRIDES[index]
            down = self.downsample(f"stage{stride}_down", x, self.base_group(f"stage{stride}", base))
            auxiliary.append(self.auxiliary_head(f"auxiliary{stride}", down.output))
            result.append(down)
            x = down.output
            for number in range(1, self.spec.segment_blocks[index] + 1):
                x = self.stride_1_block(f"stage{stride}_{number}", x, index, result)
        context = blocks.context_block(
            self.builder("context", "context", "segment"), x, self.base_group("context", stages[-1])
        )
        return [*result, context], tuple(auxiliary), context.output

    def downsample(self, name: str, x: Tensor, out: Group) -> Block:
        if self.spec.block == "gather_expansion":
            builder = self.builder(name, "gather_expansion_down", "segment")
            return blocks.gather_expansion_down_block(builder, x, out, self.spec.expansion)
        return blocks.downsample_block(self.builder(name, "downsample", "segment"), x, out, self.spec.expansion)

    def stride_1_block(self, name: str, x: Tensor, index: int, result: list[Block | Mixed]) -> Tensor:
        """Appends the block that was asked for, if any, and returns what comes out."""
        if self.spec.block == "mixed":
            return self.mixed(name, x, index, result)
        if self.spec.block == "lir":
            block = blocks.lir_block(self.builder(name, "lir", "segment"), x, self.spec.expansion)
        else:
            builder = self.builder(name, "gather_expansion", "segment")
            block = blocks.gather_expansion_block(builder, x, self.spec.expansion)
        result.append(block)
        return block.output

    def mixed(self, name: str, x: Tensor, index: int, result: list[Block | Mixed]) -> Tensor:
        path = self.path(name)
        if path == "skip":
            return x
        block = self.operator(path, name, x, index) if path != MIXED else self.both_operators(name, x, index)
        result.append(block)
        return block.output

    def both_operators(self, name: str, x: Tensor, index: int) -> Mixed:
        paths = tuple((path, self.operator(path, name, x, index)) for path in PATHS[1:])
        return Mixed(name, "segment", x, Tensor(name, x.groups, x.extent), paths)

    def operator(self, path: str, name: str, x: Tensor, index: int) -> Block:
        if path == "mhsa":
            return self.attention(f"{name}_mhsa", x, index)
        return blocks.lir_block(self.builder(f"{name}_lir", "lir", "segment"), x, self.spec.expansion)

    def path(self, name: str) -> str:
        self.seen.add(name)
        if self.paths is None:
            return MIXED
        choice = self.paths.get(name)
        if choice not in (*PATHS, MIXED):
            raise UserError(f"architecture: path of {name} is {choice!r}; it must be one of {', '.join(PATHS)}")
        return choice

    def attention(self, name: str, x: Tensor, index: int) -> Block:
        patch = self.spec.patch_sizes[index]
        tokens = x.channels * patch**2
        return blocks.mhsa_block(
            self.builder(name, "mhsa", "attention"),
            x,
            patch=patch,
            tokens=tokens,
            heads=max(1, round(tokens / self.spec.head_width)),
            head_width=self.spec.head_width,
            hidden=tokens * self.spec.mlp_ratio,
        )

    def auxiliary_head(self, name: str, x: Tensor) -> Block:
        hidden = Group(f"{name}.conv", self.spec.auxiliary_channels, searched=False)
        builder = self.builder(name, "head", "auxiliary")
        return blocks.head_block(builder, x, self.image, hidden, self.classes, 0.0)

    def refuse_leftovers(self) -> None:
        unknown = sorted({*(self.widths or {}), *(self.paths or {})} - self.seen)
        if unknown:
            raise UserError(f"architecture: {unknown[0]} is no part of this supernet; it belongs to another one")
