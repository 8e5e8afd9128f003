"""Orbax checkpoints of a phase: atomic, written while training goes on, and the newest that can be read is used."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN, PreservationPolicy

from rtseg_jax.errors import UserError
from rtseg_jax.files import Place
from rtseg_jax.training.failures import lost
from rtseg_jax.training.processes import all_agree

VERSION = 2
"""Of what a checkpoint holds: 1 had no metadata, 2 says where the input is."""


@dataclasses.dataclass
class _Best(PreservationPolicy):
    """Keeps the checkpoint with the best score; the newest of equal ones. `scores` are by step."""

    scores: Mapping[int, float]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        del context
        scored = [checkpoint.step for checkpoint in checkpoints if checkpoint.step in self.scores]
        best = max(scored, key=lambda step: (self.scores[step], step), default=None)
        return [checkpoint.step == best for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints in one folder: the last `keep`, and the best by mIoU among those that have one.

    They are of all processes, which call every method alike; each array is written once. `reading` leaves the folder as
    it is; otherwise what a killed writer left of an unfinished checkpoint is removed.
    """

    def __init__(self, folder: Place, keep: int = 2, *, reading: bool = False):
        self._folder = folder
        self._scores: dict[int, float] = {}
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep), _Best(self._scores)]),
            cleanup_tmp_directories=not reading,
            create=not reading,
        )
        handler = ocp.StandardCheckpointHandler()  # unnamed, it warns where only what is known is read
        try:
            self._manager = ocp.CheckpointManager(folder, item_handlers=handler, options=options)
        except OSError as error:
            raise UserError(f"{folder}: no checkpoint can be written ({_reason(error)}); mend that first") from error
        if not reading:  # Orbax's own scores would keep a folder from being opened whose newest checkpoint is damaged
            known = {step: self.about(step) for step in self.steps()}
            self._scores.update({step: about["miou"] for step, about in known.items() if "miou" in about})

    def save(self, step: int, tree: Any, about: Mapping[str, Any] | None = None, miou: float | None = None) -> None:
        """Begins to write a checkpoint, with what is to be known about it; it exists only once it is whole.

        Raises:
          UserError: this one, or the one before, cannot be written.
        """
        known: dict[str, Any] = {"version": VERSION, **(about or {})}
        if miou is not None:
            known["miou"] = self._scores[step] = miou
        with _writing(self._folder):
            self._manager.save(
                step,
                args=ocp.args.StandardSave(tree),
                custom_metadata=known,
                force=True,
            )

    def about(self, step: int) -> dict[str, Any]:
        """What is known about a checkpoint: `version`, and what it was saved with."""
        try:
            return dict(self._manager.metadata(step).custom_metadata or {})
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _version(self, step: int) -> int | None:
        """The format of a checkpoint; None where even that cannot be read."""
        try:
            known = self._manager.metadata(step)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if known.init_timestamp_nsecs is None:  # what Orbax makes of a file that is cut off
            return None
        return int((known.custom_metadata or {}).get("version", 1))

    def next_batch(self, step: int) -> int:
        """Number of the batch that comes after a checkpoint, which says it; after none, the first one, 0.

        Checkpoints of the first format do not say it; there a step took a batch.
        """
        return int(self.about(step).get("input", {}).get("next_batch", step)) if step else 0

    def steps(self) -> list[int]:
        """Of the checkpoints that exist."""
        return sorted(self._manager.all_steps())

    def delete(self, step: int) -> None:
        """Removes a checkpoint."""
        with _writing(self._folder):
            self._manager.delete(step)

    def resume(self, like: Any) -> tuple[int, Any] | None:
        """Like `newest`; removes newer ones that cannot be read, so that the run can write them again.

        Raises:
          UserError: there are checkpoints and none can be read: they are of another network or version, and stay.
        """
        found = self.newest(like)
        steps = self.steps()
        if found is None and steps:
            raise UserError(
                f"{self._folder}: none of its {len(steps)} checkpoints can be read, they are damaged or of another "
                "network; delete that folder to begin the phase again, or name another --workdir"
            )
        for step in steps:
            if found is not None and step > found[0]:
                self.delete(step)
        return found

    def newest(self, like: Any) -> tuple[int, Any] | None:
        """The newest readable checkpoint as (step, tree shaped and placed like `like`), or None.

        The devices may be others than those it was written from. A damaged newest one is reported, and the one before
        it is used.

        Raises:
          UserError: it cannot be read because another version wrote it; it stays.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        for step in reversed(self.steps()):
            tree, reason = None, ""
            try:
                tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            except Exception as error:
                reason = _reason(error)
            if all_agree(tree is not None):
                return step, tree
            version = self._version(step)
            if version not in (VERSION, None):
                raise UserError(
                    f"{self._folder}: checkpoint {step} was written by another version of rtseg_jax (format {version}, "
                    f"this one writes {VERSION}); finish the run with that version, or name another --workdir"
                )
            logging.warning("%s: checkpoint %d cannot be read (%s); using the one before", self._folder, step, reason)
        return None

    def close(self) -> None:
        """Waits until everything is written, and releases the folder.

        Raises:
          UserError: something could not be written.
        """
        with _writing(self._folder):
            self._manager.close()


@contextlib.contextmanager
def _writing(folder: Place) -> Iterator[None]:
    """Says in one line why a checkpoint was not written: a full disk, most often."""
    try:
        yield
    except Exception as error:
        if lost(error):
            raise
        raise UserError(
            f"{folder}: a checkpoint could not be written ({_reason(error)}); make room or mend the folder, and start "
            "the run again: it goes on from the last checkpoint that is whole"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of an error, without what a library adds for its authors."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.split(" [source locations=")[0]


def save_tree(folder: Place, tree: Any, about: Mapping[str, Any] | None = None) -> None:
    """Keeps a tree as the only checkpoint of a folder; an earlier one goes once this one is whole."""
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(1 + max(checkpoints.steps(), default=-1), tree, about)
    checkpoints.close()


def load_newest(folder: Place, like: Any) -> Any:
    """The newest readable checkpoint of a finished phase; raises `UserError` where there is none."""
    if not folder.exists():
        raise UserError(f"{folder}: no weights there; the run that writes them is not finished, or they were deleted")
    checkpoints = Checkpoints(folder, reading=True)
    found = checkpoints.newest(like)
    checkpoints.close()
    if found is None:
        raise UserError(f"{folder}: no readable checkpoint; train again, into another workdir")
    return found[1]
