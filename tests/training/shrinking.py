"""Shipped configs, shrunk until a whole run takes seconds; pictures are drawn, the latency predictor is recorded."""

import os
import subprocess
import sys
from pathlib import Path

from helpers import quick_compiles

from rtseg_jax import command_line

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
TRAINING = ("pretrain", "search", "finetune", "uniform")
NETWORK = {
    "width": 0.25,
    "head_width": 8,
    "segment_blocks": (0, 0, 1),
    "stem_width": 1.5,
    "stage_widths": (1.0, 1.0, 1.5),
    "head_channels": 512,
    "patch_sizes": (2, 1, 2),
    "auxiliary_channels": 8,
}
"""Of the supernet of every shrunk config; the recorded predictor was measured on it."""


def load_config(name: str):
    """The ConfigDict of a file in configs/."""
    return command_line.load_config(str(ROOT / "configs" / f"{name}.py"))


def shrink(config, predictor: Path, *, steps: int = 2):
    """The same config with a tiny network, tiny drawn pictures and few steps."""
    config.data.stand_in = True
    config.data.train_size = config.data.eval_size = (32, 64)
    config.data.base_size = (32, 64)
    config.data.num_train, config.data.num_validation = 8, 3
    config.network.update(NETWORK)
    config.batch_size, config.train.eval_batch_size = 2, 2
    config.train.pretrain_steps = config.train.search_steps = config.train.finetune_steps = steps
    config.train.uniform_steps = steps
    config.search.rounds = 2
    config.train.recalibration_batches = 1
    config.train.log_every = config.train.checkpoint_every = 1
    config.train.eval_every = 0
    config.train.num_threads = 1
    config.train.tensorboard = False
    config.latency.predictor = str(predictor)
    config.latency.target_ms, config.latency.target_fraction = 0.0, 0.7
    return config


def write_config(path: Path, name: str, predictor: Path, *, steps: int) -> Path:
    """A config file for the command line that shrinks a shipped one."""
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom shrinking import load_config, shrink\n\n\n"
        f"def get_config():\n    return shrink(load_config({name!r}), Path({str(predictor)!r}), steps={steps})\n"
    )
    return path


MAIN = ("-m", "rtseg_jax.main")
PLAIN = (str(Path(__file__).with_name("plain_network.py")),)
"""Main with a network that compiles in seconds."""


def command(config: Path, workdir: Path, *extra: str, program: tuple[str, ...] = MAIN) -> list[str]:
    """The command line of a run."""
    return [sys.executable, *program, f"--config={config}", f"--workdir={workdir}", *extra]


def start(
    config: Path, workdir: Path, *extra: str, program: tuple[str, ...] = MAIN, devices: int = 1, **variables: str
) -> subprocess.Popen:
    """A run in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={devices} {quick_compiles.FLAGS}"
    return subprocess.Popen(
        command(config, workdir, *extra, program=program),
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
