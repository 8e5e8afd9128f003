"""In the place of a converter: says who was asked for what. Processes that tests start import it."""

import os

from rtseg_jax.errors import UserError
from rtseg_jax.latency.subjects import Subject


def written(subject: Subject, converter: str, precision: str) -> bytes:
    """A file's contents: process, block, converter, precision."""
    if precision == "fp16":
        raise UserError(f"block {subject.block}: {converter} writes no {precision}")
    return f"{os.getpid()} {subject.block} {converter} {precision}".encode()
