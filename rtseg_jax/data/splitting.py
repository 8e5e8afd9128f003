"""Pictures held out for validation where the publishers of a data set name none."""

import hashlib
from collections.abc import Iterable, Sequence

from rtseg_jax.errors import UserError


def in_drawn_order(names: Iterable[str], seed: int) -> tuple[str, ...]:
    """Names in an order that depends on the seed; which of two comes first does not depend on the others."""
    return tuple(
        sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode(errors="surrogateescape")).digest())
    )


def held_out(names: Sequence[str], share: float, seed: int, what: str) -> frozenset[str]:
    """The names that are scored and not trained on; `what` they are, for the error.

    Raises:
      UserError: a share that leaves nothing to train on or nothing to score.
    """
    number = round(share * len(names))
    if not 0 < number < len(names):
        raise UserError(
            f"config.data.validation_share is {share:g} of {len(names)} {what}, which leaves nothing to train on or "
            f"nothing to score; choose another share, or add {what}"
        )
    return frozenset(in_drawn_order(names, seed)[:number])
