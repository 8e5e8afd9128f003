"""Networks as Flax modules: supernet, searched network and baseline are one interpreter of three declarations."""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from rtseg_jax import architecture as declaration
from rtseg_jax.architecture import Block, Mixed, Tensor, guidance, operators
from rtseg_jax.architecture.graph import Weight
from rtseg_jax.models.convolution import Lowering
from rtseg_jax.models.division import WHOLE, Division
from rtseg_jax.models.operators import Context, Map, apply_op
from rtseg_jax.models.rounding import FLOATS, Numbers, passed_on
from rtseg_jax.models.variables import Path, collection, lookup, nested


class Architecture(NamedTuple):
    """One sample of the search space.

    Attributes:
      masks: 0/1 per indicator, by group name.
      paths: weights of its choices, by mixed block; one-hot when sampled.
    """

    masks: Mapping[str, Float[Array, " g"]]
    paths: Mapping[str, Float[Array, " _"]]


class Outputs(TypedDict):
    """Logits at the size of the image: of the network, and of its auxiliary heads where they were asked for.

    In training also those of the detail head, where there is one; and the map that classes are told from, if wanted.
    """

    logits: Float[Array, "b h w k"]
    auxiliary: tuple[Float[Array, "b h w k"], ...]
    detail: NotRequired[Float[Array, "b h w 1"]]
    features: NotRequired[Float[Array, "b _ _ c"]]


class BlockModule(nn.Module):
    """One block of a declaration: takes the tensors that the block reads, returns the one that it writes."""

    block: Block
    dtype: Any
    lowering: Lowering
    division: Division = WHOLE
    numbers: Numbers = FLOATS

    @nn.compact
    def __call__(
        self,
        inputs: list[Map],
        masks: Mapping[str, jax.Array] | None,
        *,
        train: bool,
        seen: dict[Tensor, Map] | None = None,
    ) -> Map:
        """Runs the operators; `inputs` in the order of `block.inputs`. `seen` receives every map of the block."""
        arrays = self._arrays()
        moved: dict[Weight, jax.Array] = {}
        context = Context(
            masks,
            train,
            self.dtype,
            self.lowering,
            lambda w: arrays[w.name],
            moved.__setitem__,
            division=self.division,
            numbers=self.numbers,
        )
        passed = passed_on(self.block)
        values = dict(zip(self.block.inputs, inputs, strict=True))
        for op in self.block.ops:
            read = [values[tensor] for tensor in op.inputs]
            if isinstance(op, operators.Resize) and op.output == self.block.output:
                read[0] = read[0].astype(jnp.float32)  # a head's logits: what is interpolated next is compared
            with jax.named_scope(op.name) if op.weights else contextlib.nullcontext():
                y = apply_op(op, read, context)
            values[op.output] = y if op.output in passed else self.numbers.output(op, read, y)
        if not self.is_initializing():
            self._move(moved)
        if seen is not None:
            seen.update(values)
        return values[self.block.output]

    def _arrays(self) -> dict[Path, jax.Array]:
        """Every array of the block by name; what belongs to an operator is one tree of Flax."""
        arrays: dict[Path, jax.Array] = {}
        for (kind, top), weights in self._by_operator().items():
            if self.is_initializing():
                self._create(kind, top, weights)
            tree = self.get_variable(kind, top)  # Flax's `param` would trace the initializer again to know its shape
            found = {weight.name: lookup(tree, weight.name[1:]) for weight in weights}
            if wrong := [w for w in weights if found[w.name].shape != w.shape]:
                name, shape = "/".join((self.block.name, *wrong[0].name)), found[wrong[0].name].shape
                raise ValueError(f"{name} is of shape {shape}; {wrong[0].shape} is declared")
            arrays |= found
        return arrays

    def _create(self, kind: str, top: str, weights: list[Weight]) -> None:
        def fresh() -> Any:
            # Shapes alone count here: `initialization.initial_variables` draws the weights.
            fills = ((w.name[1:], jnp.full(w.shape, float(w.role in ("scale", "variance")))) for w in weights)
            return nested(fills)

        if kind == "params":
            self.param(top, lambda _: fresh())
        else:
            self.variable(kind, top, fresh)

    def _by_operator(self) -> dict[tuple[str, str], list[Weight]]:
        result: dict[tuple[str, str], list[Weight]] = {}
        for name, weight in self.block.weights.items():
            result.setdefault((collection(weight), name[0]), []).append(weight)
        return result

    def _move(self, moved: Mapping[Weight, jax.Array]) -> None:
        """Keeps new running statistics."""
        trees: dict[str, list[tuple[Path, jax.Array]]] = {}
        for weight, value in moved.items():
            trees.setdefault(weight.name[0], []).append((weight.name[1:], value))
        for top, leaves in trees.items():
            self.put_variable("batch_stats", top, nested(leaves))


class SegmentationNetwork(nn.Module):
    """Dual-branch segmentation network.

    Attributes:
      network: the declaration.
      dtype: of the computation; parameters, batch statistics and logits are float32.
      lowering: how operators are expressed, see `models.convolution`.
      rematerialize: whether a derivative keeps only what blocks hand on, and computes again what is inside them.
      division: of the batch among devices.
      numbers: in which is computed, see `rounding`; heads that only training has compute in floats.
    """

    network: declaration.Network
    dtype: Any = jnp.float32
    lowering: Lowering = "native"
    rematerialize: bool = False
    division: Division = WHOLE
    numbers: Numbers = FLOATS

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        architecture: Architecture | None = None,
        *,
        train: bool = False,
        auxiliary: bool = False,
        features: bool = False,
    ) -> Outputs:
        """Maps normalized images to logits.

        Args:
          images: normalized pictures, any height and width.
          architecture: sample to run; None runs the network as declared, mixed blocks averaging their operators.
          train: batch statistics and dropout are those of training.
          auxiliary: whether to run the auxiliary heads.
          features: whether to hand out the map that classes are told from.
        """
        values = {self.network.image: images.astype(self.dtype)}
        masks = None if architecture is None else architecture.masks

        seen: dict[Tensor, Map] = {}

        shipped = {block.name for block in self.network.plain_blocks}

        def run(block: Block) -> Map:
            numbers = self.numbers if block.name in shipped else FLOATS
            module = BlockModule(block, self.dtype, self.lowering, self.division, numbers, name=block.name)
            inputs = [values[tensor] for tensor in block.inputs]
            if features and block == self.network.blocks[-1]:  # whose inner maps must not be computed again
                return module(inputs, masks, train=train, seen=seen)

            def compute(module: BlockModule, inputs: list[Map], masks: Any) -> Map:
                return module(inputs, masks, train=train)

            compute = nn.remat(compute) if train and self.rematerialize else compute
            return compute(module, inputs, masks)

        for block in self.network.blocks:
            if isinstance(block, Mixed):
                weights = None if architecture is None else architecture.paths[block.name]
                values[block.output] = self._mix(values[block.input], [run(path) for _, path in block.paths], weights)
            else:
                values[block.output] = run(block)
        heads = [run(block) for block in self.network.auxiliary] if auxiliary else []
        logits = values[self.network.blocks[-1].output]  # type: ignore[union-attr]
        outputs = Outputs(
            logits=logits.astype(jnp.float32), auxiliary=tuple(head.astype(jnp.float32) for head in heads)
        )
        if train and self.network.detail is not None:
            outputs["detail"] = run(self.network.detail).astype(jnp.float32)
        if features:
            outputs["features"] = seen[guidance.features(self.network)]
        return outputs

    def _mix(self, skip: Map, outputs: list[Map], weights: Float[Array, " _"] | None) -> Map:
        """Equation 7: h_s·skip + h_l·LIR + h_m·MHSA, …; without weights the average of the operators."""
        if weights is None:
            return sum(outputs[1:], outputs[0]) / len(outputs)
        cast = weights.astype(self.dtype)
        return sum((cast[i] * x for i, x in enumerate([skip, *outputs])), jnp.zeros_like(skip))
