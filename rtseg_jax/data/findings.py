"""What is wrong with a file of a data set, said in one line: which file, what, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rtseg_jax.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a data set.

    Attributes:
      file: where: a path, or ARCHIVE:NAME inside a zip or tar.
      what: continues a sentence that begins with the file.
      remedy: what to do about it.
      unknown: pixels of each id or #colour in a label file that no class has.
    """

    file: str
    what: str
    remedy: str
    unknown: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def line(self) -> str:
        """All of it in one line."""
        return printable(f"{self.file} {self.what}; {self.remedy}")


def printable(text: str) -> str:
    """In one line, with bytes of file names that are no text written as `\\udcff`."""
    return " ".join(text.split("\n")).encode("utf-8", "backslashreplace").decode("utf-8")


class BadFile(UserError):
    """A file that cannot be used; `data.bad='skip'` leaves it out, otherwise the run ends with this line."""

    def __init__(self, file: str, what: str, remedy: str, unknown: Mapping[str, int] | None = None):
        self.finding = Finding(file, what, remedy, dict(unknown or {}))
        super().__init__(self.finding.line)

    def __reduce__(self) -> tuple[type["BadFile"], tuple[str, str, str, Mapping[str, int]]]:
        return BadFile, (self.finding.file, self.finding.what, self.finding.remedy, self.finding.unknown)
