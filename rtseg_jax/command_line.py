"""Flags of commands that take a config."""

from typing import Any

from absl import flags

from rtseg_jax.config import unknown_field
from rtseg_jax.errors import UserError


def parse_flags(
    arguments: list[str], config: flags.FlagHolder[Any], values: flags.FlagValues = flags.FLAGS
) -> list[str]:
    """absl's parser; what is wrong with a config file or one of its fields is said in one line.

    Raises:
      UserError: a flag or field that does not exist, with the nearest that does; a config that cannot be read.
    """
    try:
        rest = values(arguments)
        if config.value is not None:
            _ = config.value.phases  # a file that could not be loaded says so at first use
        return rest
    except (flags.Error, OSError, AttributeError, KeyError) as error:
        raise UserError(unknown_field(arguments) or " ".join(str(error).split())) from error
