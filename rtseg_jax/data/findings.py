"""What is wrong with a file of a data set, said in one line: which file, what, and what to do."""

from dataclasses import dataclass

from rtseg_jax.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a data set.

    Attributes:
      file: where: a path, or ARCHIVE:NAME inside a zip or tar.
      what: continues a sentence that begins with the file.
      remedy: what to do about it.
    """

    file: str
    what: str
    remedy: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        return " ".join(f"{self.file} {self.what}; {self.remedy}".split("\n"))


class BadFile(UserError):
    """A file that cannot be used; `data.bad='skip'` leaves it out, otherwise the run ends with this line."""

    def __init__(self, file: str, what: str, remedy: str):
        self.finding = Finding(file, what, remedy)
        super().__init__(self.finding.line)

    def __reduce__(self) -> tuple[type["BadFile"], tuple[str, str, str]]:
        return BadFile, (self.finding.file, self.finding.what, self.finding.remedy)
