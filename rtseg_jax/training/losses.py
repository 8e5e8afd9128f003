"""What the network is trained on: pixel losses, what a teacher adds, and their weighted sum.

All losses are computed in float32 whatever the logits' dtype. Labels are class numbers, `IGNORE` pixels are not scored.
Sums and counts run over the whole array, so under `jit` with a sharded batch they are those of the global batch. Sums
over pixels are taken in short groups (`sum_in_groups`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Num

from rtseg_jax.errors import UserError
from rtseg_jax.labels import IGNORE
from rtseg_jax.training.detail import detail_loss
from rtseg_jax.training.distillation import FIRST, NODE, channelwise_distillation, distillation, pairwise_distillation
from rtseg_jax.training.sums import sum_in_groups

Outputs = Mapping[str, Any]
Scalar = Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class LossSpec:
    """Weights of `L = L_seg + β·L_reg + γ·L_aux + λ·L_distill + …`, and what the pixel loss and the teacher are.

    With `ohem` the main head learns from hard pixels only; the auxiliary heads always learn from all of them.

    Attributes:
      beta: of the term of cost, per unit of it (published: per millisecond).
      gamma: of the auxiliary losses.
      lam: of the pixel-wise distillation.
      kl_first: whose probabilities weigh it, see `distillation`.
      pairwise: of structured distillation.
      channelwise: of channel-wise distillation.
      teacher: workdir of the run whose network teaches; None for the supernet.
      detail: of detail guidance.
      detail_at: the block whose output is guided; empty: see `architecture.guidance`.
      ohem: whether hard pixels alone count.
      ohem_threshold: a pixel is hard while its class has less than this probability.
      ohem_min_kept: fewest hard pixels, as a share of the valid ones (BiSeNetV2: 1/16).
      class_weights: one per class; None: all 1.
    """

    beta: float = 0.01
    gamma: float = 1.0
    lam: float = 0.0
    kl_first: str = "student"
    pairwise: float = 0.0
    channelwise: float = 0.0
    teacher: str | None = None
    detail: float = 0.0
    detail_at: str = ""
    ohem: bool = False
    ohem_threshold: float = 0.7
    ohem_min_kept: float = 1 / 16
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self):
        for name in ("gamma", "lam", "pairwise", "channelwise", "detail"):
            if getattr(self, name) < 0:
                raise UserError(f"loss: {name} is a weight and must not be negative, got {getattr(self, name)}")
        if self.kl_first not in FIRST:
            raise UserError(f"loss: kl_first is {self.kl_first!r}; it must be student or teacher")
        if self.teacher and not self.taught:
            raise UserError("loss: a teacher is named but teaches nothing; set lam, pairwise or channelwise above 0")
        if not self.teacher and (self.pairwise > 0 or self.channelwise > 0):
            raise UserError("loss: pairwise and channelwise need a teacher; name the workdir of one with loss.teacher")
        if self.detail_at and self.detail == 0:
            raise UserError("loss: detail_at is of detail guidance, which is off; set loss.detail, 1 as published")
        if not 0 < self.ohem_threshold <= 1:
            raise UserError(f"loss: ohem_threshold is a probability in (0, 1], got {self.ohem_threshold}")
        if not 0 < self.ohem_min_kept <= 1:
            raise UserError(f"loss: ohem_min_kept is a share of the valid pixels in (0, 1], got {self.ohem_min_kept}")
        if self.class_weights is not None and min(self.class_weights, default=0.0) < 0:
            raise UserError("loss: class_weights must not be negative")

    @property
    def of_supernet(self) -> "LossSpec":
        """The same for the phases that train a supernet: guided and taught is the network that comes out of it."""
        off: dict[str, Any] = {"pairwise": 0.0, "channelwise": 0.0, "teacher": None, "detail": 0.0, "detail_at": ""}
        return dataclasses.replace(self, lam=0.0 if self.teacher else self.lam, **off)

    @property
    def taught(self) -> bool:
        """Whether any term needs a teacher."""
        return max(self.lam, self.pairwise, self.channelwise) > 0


def cross_entropy(
    logits: Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
    *,
    class_weights: Float[Array, " k"] | None = None,
) -> Scalar:
    """Mean over the valid pixels of `−w_y·log softmax(z)_y`; the mean divides by `Σ w_y`, as in PyTorch.

    A batch without a valid pixel gives exactly 0 with zero gradient.
    """
    return _weighted_mean(_pixel_losses(logits, labels), _pixel_weights(labels, class_weights))


def ohem_cross_entropy(
    logits: Float[Array, "b h w k"],
    labels: Integer[Array, "b h w"],
    *,
    threshold: float = 0.7,
    min_kept: float = 1 / 16,
    class_weights: Float[Array, " k"] | None = None,
) -> Scalar:
    """Cross-entropy over the hard pixels: those with loss above `−log(threshold)`, else the `min_kept` hardest.

    Online hard example mining as in BiSeNetV2 (there `min_kept` = 1/16 of the valid pixels). Deviations: the number
    to keep is rounded up, so one valid pixel suffices to learn; and where equally hard pixels compete for the last
    places they share them evenly, so the result does not depend on the order of pixels. With class weights, pixels are
    chosen by their unweighted loss.
    """
    losses = _pixel_losses(logits, labels)
    kept = _hard_pixels(jax.lax.stop_gradient(losses), labels != IGNORE, -math.log(threshold), min_kept)
    return _weighted_mean(losses, kept * _pixel_weights(labels, class_weights))


def segmentation_losses(
    outputs: Outputs, labels: Integer[Array, "b h w"], teacher_outputs: Outputs | None, spec: LossSpec
) -> dict[str, Scalar]:
    """The unweighted terms that depend on pixels: `segmentation`, `auxiliary`, and what the spec asks for besides.

    `outputs` is `{"logits": [b h w k], "auxiliary": tuple of [b h w k]}`, all at label size; besides `"detail"`, of one
    channel, where edges are guided, and `"features"` where pairs are distilled. Auxiliary losses are summed over the
    heads. Pixel-wise distillation is the mean over all outputs, or the main one alone where a teacher has no others.
    """
    weights = None if spec.class_weights is None else jnp.asarray(spec.class_weights, jnp.float32)
    heads = [cross_entropy(logits, labels, class_weights=weights) for logits in outputs["auxiliary"]]
    losses = {
        "segmentation": _main_loss(outputs["logits"], labels, weights, spec),
        "auxiliary": sum(heads, start=jnp.zeros((), jnp.float32)),
    }
    if spec.detail > 0:
        losses["detail"] = detail_loss(outputs["detail"], labels)
    return losses if teacher_outputs is None else losses | _taught(outputs, teacher_outputs, spec)


def total_loss(losses: Mapping[str, Scalar], spec: LossSpec, beta_factor: Scalar | float = 1.0) -> Scalar:
    """`L_seg + β·L_reg + γ·L_aux + λ·L_distill` over the terms present (RTSeg), and those of other papers likewise.

    `L_reg` is under `cost`, in the target's unit: the gap |predicted − target| as published, or predicted − target. A
    term without a weight is an error. `beta_factor` is 1 as published.
    """
    weights = {
        "segmentation": 1.0,
        "cost": spec.beta * beta_factor,
        "auxiliary": spec.gamma,
        "distillation": spec.lam,
        "pairwise": spec.pairwise,
        "channelwise": spec.channelwise,
        "detail": spec.detail,
    }
    return sum((weights[name] * loss for name, loss in losses.items()), start=jnp.zeros((), jnp.float32))


def median_frequency_weights(pixel_counts: Num[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Median frequency balancing `w_c = median(f) / f_c`, f_c the share of the labelled pixels that are of class c.

    Eigen & Fergus 2015. Deviation: they count only the pictures in which c occurs, here all pixels count. The median is
    over the classes that occur; a class that does not gets 1, since no pixel asks for it.
    """
    present = pixel_counts > 0
    weights = np.ones(len(pixel_counts))
    if present.any():
        weights[present] = np.median(pixel_counts[present]) / pixel_counts[present]
    return weights


def inverse_log_weights(pixel_counts: Num[np.ndarray, " k"], c: float = 1.02) -> Float[np.ndarray, " k"]:
    """ENet's class weights `w = 1 / ln(c + p)`, p the share of pixels; at c = 1.02 between 1.4 and 50.5."""
    return 1.0 / np.log(c + pixel_counts / max(1, pixel_counts.sum()))


def _pixel_losses(logits: Float[Array, "b h w k"], labels: Integer[Array, "b h w"]) -> Float[Array, "b h w"]:
    """`−log softmax(z)_y` per pixel, 0 where void."""
    classes, labels = logits.shape[-1], labels.astype(jnp.int32)
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    # Compare-and-sum instead of indexing: its gradient needs no scatter.
    chosen = jax.nn.one_hot(labels, classes, dtype=bool)
    losses = -jnp.sum(jnp.where(chosen, log_probs, 0.0), axis=-1)
    # A label that is neither a class nor void is broken data: NaN is loud, counting it as perfectly right is not.
    losses = jnp.where((labels >= 0) & (labels < classes), losses, jnp.nan)
    return jnp.where(labels == IGNORE, 0.0, losses)


def _pixel_weights(labels: Integer[Array, "b h w"], class_weights: Float[Array, " k"] | None) -> Float[Array, "b h w"]:
    valid = labels != IGNORE
    if class_weights is None:
        return valid.astype(jnp.float32)
    # Void reads some class's weight (255 is clipped) and is then put to 0.
    return jnp.where(valid, jnp.take(class_weights.astype(jnp.float32), labels.astype(jnp.int32), mode="clip"), 0.0)


def _weighted_mean(losses: Float[Array, "b h w"], weights: Float[Array, "b h w"]) -> Scalar:
    total = sum_in_groups(weights)
    return sum_in_groups(weights * losses) / jnp.where(total > 0, total, 1.0)


def _hard_pixels(losses: Float[Array, "b h w"], valid: Array, cutoff: float, min_kept: float) -> Float[Array, "b h w"]:
    """1 for pixels that are kept, 0 for the others, a fraction for those that share the last places."""
    above = losses > cutoff
    places = jnp.ceil(min_kept * jnp.sum(valid)).astype(jnp.int32)
    # Loss of pixel number `places` from the hardest down; void pixels, which cost 0, never come before a valid one.
    last = -jnp.sort(-losses, axis=None)[jnp.maximum(places - 1, 0)]
    harder, tied = losses > last, valid & (losses == last)
    share = (places - jnp.sum(harder)) / jnp.maximum(1, jnp.sum(tied))
    hardest = jnp.where(harder, 1.0, jnp.where(tied, share, 0.0))
    return jnp.where(jnp.sum(above) >= places, above.astype(jnp.float32), hardest)


def _main_loss(logits, labels, weights, spec: LossSpec) -> Scalar:
    if not spec.ohem:
        return cross_entropy(logits, labels, class_weights=weights)
    return ohem_cross_entropy(
        logits, labels, threshold=spec.ohem_threshold, min_kept=spec.ohem_min_kept, class_weights=weights
    )


def _taught(outputs: Outputs, teacher: Outputs, spec: LossSpec) -> dict[str, Scalar]:
    """The terms that compare with a teacher."""
    losses = {}
    if spec.lam > 0:
        students = _all_logits(outputs) if teacher["auxiliary"] else (outputs["logits"],)
        pairs = zip(students, _all_logits(teacher), strict=True)
        losses["distillation"] = jnp.mean(jnp.stack([distillation(*pair, spec.kl_first) for pair in pairs]))
    if spec.pairwise > 0:
        height, width = outputs["logits"].shape[1:3]
        nodes = (-(-height // NODE), -(-width // NODE))
        losses["pairwise"] = pairwise_distillation(outputs["features"], teacher["features"], nodes)
    if spec.channelwise > 0:
        losses["channelwise"] = channelwise_distillation(outputs["logits"], teacher["logits"])
    return losses


def _all_logits(outputs: Outputs) -> tuple[Array, ...]:
    return (outputs["logits"], *outputs["auxiliary"])
