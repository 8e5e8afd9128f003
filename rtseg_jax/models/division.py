"""Into how many parts work is divided: a batch among the devices of a run, a map on one of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Division(NamedTuple):
    """Parts of a batch that lie on devices of their own. Results do not depend on it, what devices exchange does.

    Attributes:
      pictures: into which the pictures are divided.
      rows: into which the rows of every picture are divided.
    """

    pictures: int = 1
    rows: int = 1

    def sums(self, gradient: Callable[..., Any], *maps: Any) -> Any:
        """What a gradient sums over a batch of maps, part by part: devices exchange each sum once, not its terms."""
        parts = 1 if len(jax.tree.leaves(maps)[0]) % self.pictures else self.pictures
        each = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), maps)
        return jax.tree.map(lambda total: total.sum(0), jax.vmap(gradient)(*each))


WHOLE = Division()


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor that is at most `most`, or 1."""
    return max(n for n in range(1, max(1, min(number, most)) + 1) if number % n == 0)
