"""Searches, trains, scores and exports a network, as a config tells.

examples:
    rtseg_jax search --config=configs/quickstart.py --workdir=workdir/quickstart
    rtseg_jax search --config=configs/quickstart.py --describe
    rtseg_jax train --config=configs/camvid.py --config.model=fast_scnn --config.data.data_dir=CAMVID --workdir=W

Every field of the config can be set, as --config.train.search_steps=5000; rtseg_jax/config.py explains them. The same
command again goes on where the last one ended, and skips what is finished.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags

from rtseg_jax.command_line import USER_ERROR, Command, family, typed_command
from rtseg_jax.config import run_spec
from rtseg_jax.describe import describe
from rtseg_jax.errors import UserError
from rtseg_jax.files import Place, check_folder, place
from rtseg_jax.training.failures import LostOthers
from rtseg_jax.training.peers import Peers, join
from rtseg_jax.training.preemption import RESTART, Preempted, say_why
from rtseg_jax.training.processes import is_first
from rtseg_jax.training.train_and_evaluate import train_and_evaluate
from rtseg_jax.training.workdir import Workdir


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags, those of the config aside."""
    flags.DEFINE_string("workdir", None, "DIR: folder for everything that the run writes.", flag_values=values)
    flags.DEFINE_bool("describe", False, "Print what the config would build, without data, and stop.", values)
    flags.DEFINE_bool(
        "distributed",
        None,
        "Join the other processes of the run; default: where flags or the environment name some.",
        values,
    )
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT: of process 0; default: of the environment.", flag_values=values
    )
    flags.DEFINE_integer("num_processes", None, "Processes of the run; default: of the environment.", 1, None, values)
    flags.DEFINE_integer(
        "process_id", None, "Number of this one, from 0; default: of the environment.", 0, None, values
    )
    flags.DEFINE_integer(
        "heartbeat_seconds", 60, "After so long without a sign of one process the others end.", 1, None, values
    )
    flags.DEFINE_integer(
        "cpu_devices", 1, "Devices to split batches over where JAX runs on the CPU.", 1, flag_values=values
    )


def main(_: list[str], values: flags.FlagValues) -> None:
    """Runs a config."""
    if values.describe:
        print(describe(run_spec(values.config)))
        return
    if not values.workdir:
        raise UserError("--workdir is missing: name the folder that the run may write to")
    workdir = place(values.workdir)
    check_folder(workdir, "--workdir")
    if values.cpu_devices > 1:
        jax.config.update("jax_num_cpu_devices", values.cpu_devices)
    peers = Peers.of_environment(os.environ).replaced(values.coordinator, values.num_processes, values.process_id)
    if peers.named if values.distributed is None else values.distributed:
        join(peers, values.heartbeat_seconds)
    try:
        results = train_and_evaluate(values.config, workdir, typed_command())
    except Preempted as preempted:
        say_why(preempted)
        raise
    except (UserError, LostOthers) as error:
        if jax.process_count() == 1:
            raise
        # An ordinary exit would wait for the others, who wait for this process.
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(RESTART if isinstance(error, LostOthers) else USER_ERROR)
    if is_first():
        print("\n".join(made(workdir, results)))


def made(root: Place, results: dict[str, Any]) -> Iterator[str]:
    """What a run has made so far, by lines: the files to look at, and the commands to type next."""
    workdir, phases = Workdir(root), results["phases"]
    model = root / workdir.model.name if "export" in phases else None
    files = {"figures": root / "results.json"}
    if "evaluate" in phases:
        files["report"] = root / workdir.report.name / "report.html"
    if model is not None:
        files |= {"model": model, "card": model.with_suffix(".md")}
    yield from (f"{name + ':':9}{path}" for name, path in files.items())
    if "choice" not in results:  # no network is trained to its end
        return
    network = f"--model={model}" if model is not None else f"--workdir={root}"
    yield "next:"
    yield f"  {family()} predict {shlex.quote(network)} PICTURES --output=predicted"
    smaller = ["--quantize=fp16", "--input=uint8", f"--output={root / 'model_fp16.tflite'}"]
    yield f"  {family()} convert {shlex.join([f'--workdir={root}', *smaller])}"


COMMAND = Command(
    __doc__ or "",
    define_flags,
    main,
    needed={"config": "name a file, such as --config=configs/quickstart.py"},
    config="The recipe: a Python file, such as configs/quickstart.py.",
    interrupted="interrupted: the same command goes on where this one was",
)


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


if __name__ == "__main__":
    run()
