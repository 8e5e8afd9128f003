"""The commands by task, the only list of them: `rtseg_jax NAME`, or `python -m rtseg_jax NAME`."""

import ast
import dataclasses
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from rtseg_jax import __version__
from rtseg_jax.command_line import FAMILY, HELP, USER_ERROR, Command, family, table
from rtseg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
      task: what it is for; entries of one task stand together.
      names: what it is called, the first is the usual one.
      module: where its `COMMAND` is; the module's own name is understood as well.
    """

    task: str
    names: tuple[str, ...]
    module: str

    @property
    def understood(self) -> tuple[str, ...]:
        """All names that start it."""
        return tuple(dict.fromkeys((*self.names, self.module.removesuffix(".__main__").rpartition(".")[2])))

    @property
    def source(self) -> Path:
        """The file of the module."""
        return Path(__file__).parent.joinpath(*self.module.split(".")[1:]).with_suffix(".py")

    @property
    def line(self) -> str:
        """The first line of the module's docstring; the module itself, which may import JAX, is not loaded."""
        return str(ast.get_docstring(ast.parse(self.source.read_text(encoding="utf-8")))).partition("\n")[0]

    def load(self) -> Command:
        """The command itself."""
        try:
            return importlib.import_module(self.module).COMMAND
        except ModuleNotFoundError as error:
            raise UserError(
                f"{self.names[0]} needs {error.name}, which is not installed; run: pip install 'rtseg_jax[train]'"
            ) from error


ENTRIES = (
    Entry("search and train", ("search", "train"), "rtseg_jax.main"),
    Entry("search and train", ("pareto",), "rtseg_jax.pareto"),
    Entry("search and train", ("zoo",), "rtseg_jax.zoo.__main__"),
    Entry("look at data", ("inspect_data",), "rtseg_jax.inspect_data"),
    Entry("look at data", ("prepare_data",), "rtseg_jax.prepare_data"),
    Entry("search and train", ("show",), "rtseg_jax.show"),
    Entry("judge and use a network", ("evaluate",), "rtseg_jax.evaluate"),
    Entry("judge and use a network", ("predict",), "rtseg_jax.predict"),
    Entry("ship it", ("convert",), "rtseg_jax.convert_tflite"),
    Entry("ship it", ("benchmark",), "rtseg_jax.benchmark_tflite"),
    Entry("ship it", ("demo",), "rtseg_jax.demo.__main__"),
    Entry("know a device", ("measure",), "rtseg_jax.measure_latency"),
    Entry("know a device", ("survey",), "rtseg_jax.survey.__main__"),
)


def overview() -> str:
    """What `--help` prints: every command with its line, by task."""
    lines = [f"usage: {family()} COMMAND [--FLAG=VALUE ...]", "", f"{FAMILY} {__version__}: {_subject()}"]
    for task in dict.fromkeys(entry.task for entry in ENTRIES):
        rows = [(", ".join(entry.names), entry.line) for entry in ENTRIES if entry.task == task]
        lines += ["", f"{task}:", *table(rows, width=100, column=20)]
    ending = "--help after a command shows its flags and examples; --version shows the version."
    return "\n".join([*lines, "", ending])


def _subject() -> str:
    package = sys.modules["rtseg_jax"].__doc__ or ""
    return package.partition("\n")[0]


def entry_of(name: str) -> Entry | None:
    """The entry that a name starts."""
    return next((entry for entry in ENTRIES if name in entry.understood), None)


def unknown(name: str) -> str:
    """What to say of a name that starts nothing."""
    if name.startswith("-"):
        return f"{name} stands before any command: write {family()} COMMAND {name}; --help lists the commands"
    near = difflib.get_close_matches(name, [name for entry in ENTRIES for name in entry.understood], n=1)
    nearest = f"; the nearest is {near[0]}" if near else ""
    return f"there is no command {name!r}{nearest}; --help lists the commands"


def run_family(arguments: Sequence[str]) -> int:
    """Lists the commands, or starts the one that is named, which ends the process; returns the exit status."""
    if not arguments or arguments[0] in HELP:
        print(overview())
    elif arguments[0] == "--version":
        print(f"{FAMILY} {__version__}")
    elif (entry := entry_of(arguments[0])) is None:
        print(f"error: {unknown(arguments[0])}", file=sys.stderr)
        return USER_ERROR
    else:
        try:
            command = entry.load()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return USER_ERROR
        command.start(arguments[1:], f"{family()} {entry.names[0]}")
    return 0


def run() -> None:
    """Entry point of the installed program."""
    sys.exit(run_family(sys.argv[1:]))
