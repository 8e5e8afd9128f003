"""Grain, without the line that it logs when it is imported: it misses a profiler that nothing here uses."""

from absl import logging

_verbosity = logging.get_verbosity()
logging.set_verbosity(logging.ERROR)
import grain  # noqa: E402

logging.set_verbosity(_verbosity)

__all__ = ["grain"]
