"""Into how many parts the devices of a run divide a batch."""

from typing import NamedTuple


class Division(NamedTuple):
    """Parts of a batch that lie on devices of their own. Results do not depend on it, what devices exchange does.

    Attributes:
      pictures: into which the pictures are divided.
      rows: into which the rows of every picture are divided.
    """

    pictures: int = 1
    rows: int = 1


WHOLE = Division()
