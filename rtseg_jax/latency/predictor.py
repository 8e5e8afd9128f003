"""The latency model S(·): features of blocks to milliseconds.

    log S = a·log R + M(log widths, log R, context) + log g

`R` is a *rough* latency: a sum of features, each at a non-negative rate in milliseconds, so that a few dozen measured
blocks are enough. `M` is the paper's perceptron of five fully connected layers, which learns what the rough latency
gets wrong. Its weights on the path from widths to the output are non-negative and its activations are monotone, so
predicted latency never falls when a width grows, whatever was learned. Non-negative weights and ReLU alone would make
`M` convex; half of the units use the reflected −ReLU(−x) (Runje and Shankaranarayana, 2023).

`g` is 1, or the gain of the block's type on a device that the predictor was adapted to, see `latency.adapting`.

Outside of what was measured the inputs of `M` are held at the nearest measured value, and `a·log R` extrapolates;
`a` and every rate are bounded below by a small positive number, so the gradient never dies.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rtseg_jax.architecture import Block, NetworkSpec
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import FLOAT32
from rtseg_jax.files import Place, write_text
from rtseg_jax.latency.backend import SWEEP_FIELDS, unit_of
from rtseg_jax.latency.features import CONTEXT_FEATURES, TILINGS, WIDTH_FEATURES, Tile, block_context

ROUGH_FEATURES = WIDTH_FEATURES.index("weights") + 1  # widths by themselves cost nothing
SLOPE_FLOOR = 0.2  # of `a`
VERSION = 4
FILES = "files"
"""Field of a card: numbers of the files that were timed, one of `export.spec.PRECISIONS`."""

Params = Mapping[str, Any]
Data = Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class LatencyModel:
    """A fitted predictor.

    Attributes:
      arrays: everything that was fitted, as a tree of float32 arrays.
      kinds: types of blocks that were measured; any other one is priced by the rough latency's correction alone.
      card: what the figures mean, see `Backend.card`, with the image size.
      errors: of predictions for what the fit has not seen, see `accuracy.error_figures`, by what that is.
    """

    arrays: Params
    kinds: tuple[str, ...]
    card: Mapping[str, Any]
    errors: Mapping[str, Mapping[str, float]]

    @property
    def tiles(self) -> dict[str, Tile]:
        """Tiles of the device."""
        return {
            name: (int(small), int(large)) for name, (small, large) in zip(TILINGS, self.arrays["tiles"], strict=True)
        }

    @property
    def precision(self) -> str:
        """Numbers of the files that were timed, see `precision_of`."""
        return precision_of(self.card)

    @property
    def unit(self) -> str:
        """What to call its milliseconds: those of a device that is a formula are modelled."""
        return unit_of(self.card)

    def interval(self, ms: float) -> tuple[float, float]:
        """What 90 % of networks that are predicted at `ms` lie between, if they are of the kind that was measured."""
        factor = math.exp(float(self.arrays["spread"]))
        return ms / factor, ms * factor

    def save(self, path: Place) -> None:
        """Writes the file whole or not at all."""
        value = {
            "version": VERSION,
            "width_features": WIDTH_FEATURES,
            "context_features": CONTEXT_FEATURES,
            "kinds": self.kinds,
            "card": dict(self.card),
            "errors": dict(self.errors),
            "arrays": jax.tree.map(lambda x: np.asarray(x, np.float32).tolist(), self.arrays),
        }
        write_text(path, json.dumps(value))

    @staticmethod
    def load(path: Place) -> "LatencyModel":
        """Reads a file written by `save`, or the one in a sweep's folder.

        Raises `UserError` where it is missing, foreign or incomplete.
        """
        path = path / "predictor.json" if path.is_dir() else path
        try:
            value = json.loads(path.read_text())
            arrays = jax.tree.map(_array, value["arrays"], is_leaf=lambda x: not isinstance(x, dict))
            model = LatencyModel(arrays, tuple(value["kinds"]), value["card"], value["errors"])
            version = int(value["version"])
            same = (tuple(value["width_features"]), tuple(value["context_features"]))
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; measure_latency writes it") from error
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path}: not a latency predictor ({error}); run measure_latency again") from error
        if version != VERSION or same != (WIDTH_FEATURES, CONTEXT_FEATURES):
            raise UserError(f"{path}: written by another version; measure again: what was timed in that folder is kept")
        check_card(model.card, str(path))
        return model


def precision_of(card: Mapping[str, Any]) -> str:
    """One of `export.spec.PRECISIONS`; cards that do not say are of float32."""
    return str(card.get(FILES, FLOAT32))


def check_card(card: Mapping[str, Any], where: str) -> None:
    """Raises `UserError` where a card leaves open what was measured."""
    missing = [field for field in SWEEP_FIELDS if card.get(field) in (None, "")]
    if missing:
        raise UserError(f"{where}: the card of the measurements has no {', '.join(missing)}; measure again")


FREE_FIELDS = ("num_classes", "dropout", "auxiliary_channels")
"""Fields of a network whose change leaves the blocks' predictions valid: the classifier is a sliver of the head."""


def check_network(card: Mapping[str, Any], spec: NetworkSpec, where: str) -> None:
    """Raises `UserError` where the predictor was measured on blocks of another supernet."""
    measured, wanted = card.get("network"), spec.to_json()
    if measured is None:
        raise UserError(f"{where} does not say on which supernet it was measured; measure again")
    if measured["name"] != wanted["name"]:
        raise UserError(f"{where} was measured on {measured['name']}, the network is {wanted['name']}; measure again")
    fields = {field.name: field.default for field in dataclasses.fields(spec)} | measured["fields"]  # some came later
    for name, value in dataclasses.asdict(spec).items():
        before = tuple(fields[name]) if isinstance(value, tuple) else fields[name]
        if name not in FREE_FIELDS and before != value:
            raise UserError(
                f"{where} was measured on a supernet with {name} {before}, this one has {value}; "
                "measure again, or search in the supernet that was measured"
            )


def context_of(block: Block, image_size: tuple[int, int], kinds: tuple[str, ...]) -> tuple[float, ...]:
    """Context features of a block and its type, one-hot."""
    return (*block_context(block, image_size), *(float(block.kind == kind) for kind in kinds))


def predict_blocks(params: Params, widths: Float[Data, "g f"], context: Float[Data, "g c"]) -> Float[Array, " g"]:
    """Milliseconds of blocks.

    Args:
      params: `LatencyModel.arrays`.
      widths: width features of each block.
      context: see `context_of`.
    """
    log_rough = jnp.log(rough(params, widths, context))
    inputs = _clipped(params["widths"], width_inputs(widths, log_rough))
    slope = SLOPE_FLOOR + jax.nn.softplus(params["slope"])
    correction = perceptron(params["layers"], inputs, _clipped(params["context"], context))
    center = params["center"]
    gain = 1.0 + context[:, len(CONTEXT_FEATURES) :] @ (params["gains"] - 1.0)
    return gain * jnp.exp(center + slope * (log_rough - center) + correction)


def rough(params: Params, widths: Float[Data, "g f"], context: Float[Data, "g c"]) -> Float[Data, " g"]:
    """Σ rate · feature, with a rate per operator and one per block."""
    fixed = params["rates"]["block"] + params["rates"]["operator"] * context[:, 0]
    return widths[:, :ROUGH_FEATURES] @ params["rates"]["features"] + fixed


def width_inputs(widths: Float[Data, "g f"], log_rough: Float[Data, " g"]) -> Float[Array, "g f1"]:
    """What the perceptron sees of widths, before standardization."""
    return jnp.concatenate([jnp.log1p(widths), log_rough[:, None]], axis=1)


def perceptron(layers: Params, widths: Float[Array, "g f1"], context: Float[Data, "g c"]) -> Float[Array, " g"]:
    """Five fully connected layers, non-decreasing in every column of `widths`."""
    first = layers["first"]
    x = monotone(widths @ jax.nn.softplus(first["widths"]) + context @ first["context"] + first["bias"][None])
    for layer in layers["hidden"].values():
        x = monotone(x @ jax.nn.softplus(layer["kernel"]) + layer["bias"][None])
    last = layers["last"]
    return (x @ jax.nn.softplus(last["kernel"]) + last["bias"][None])[:, 0]


def monotone(x: Float[Array, "g u"]) -> Float[Array, "g u"]:
    """ReLU for the first half of the units, its reflection for the second."""
    half = x.shape[-1] // 2
    return jnp.concatenate([jax.nn.relu(x[:, :half]), -jax.nn.relu(-x[:, half:])], axis=1)


def _clipped(scaling: Params, x: Float[Data, "g f"]) -> Float[Array, "g f"]:
    inside = jnp.clip(x, scaling["low"][None], scaling["high"][None])
    return (inside - scaling["mean"][None]) / scaling["std"][None]


def _array(value: Any) -> jax.Array:
    return jnp.asarray(np.asarray(value, np.float32))
