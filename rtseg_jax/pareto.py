"""Several sizes from one supernet: pretrains once, then searches, trains, scores and exports a network per target.

    python -m rtseg_jax.pareto --config=configs/camvid.py --config.data.data_dir=CAMVID --targets=20,30,45 --out=OUT

Each target, in milliseconds, gets a workdir of its own in OUT, as `rtseg_jax.main` leaves it. `pareto.json`,
`pareto.md` and `pareto.png` show mIoU against measured latency, with uniform scaling and BiSeNetV2 beside the searched
networks. A command that was stopped goes on where it was. Supernet and latency sweep are those of OUT/supernet: a
target costs its search and its training only.
"""

import sys
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from rtseg_jax.command_line import parse_flags
from rtseg_jax.errors import UserError
from rtseg_jax.training.front import front, targets_of

CONFIG = config_flags.DEFINE_config_file("config", None, "config of all searches")
TARGETS = flags.DEFINE_list("targets", None, "latency targets in milliseconds, such as 20,30,45", required=True)
OUT = flags.DEFINE_string("out", None, "folder of all workdirs, the table and the plot", required=True)
CPU_DEVICES = flags.DEFINE_integer("cpu_devices", 1, "devices to split batches over where JAX runs on the CPU")


def main(argv: list[str]) -> None:
    """Runs what is left; errors that a user can act on are one line."""
    logging.set_verbosity(logging.WARNING)
    try:
        if len(argv) > 1:
            raise UserError(f"what is {argv[1]!r}? targets are given as --targets=20,30,45")
        jax.config.update("jax_num_cpu_devices", CPU_DEVICES.value)
        print(front(CONFIG.value, targets_of(TARGETS.value), Path(OUT.value)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run() -> None:
    """Starts absl; wrong flags and configs are one line."""
    flags.mark_flag_as_required("config")
    try:
        app.run(main, flags_parser=lambda arguments: parse_flags(arguments, CONFIG))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
