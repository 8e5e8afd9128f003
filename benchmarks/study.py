"""Does the search earn its keep? Arms at equal predicted latency and equal steps, each a row as soon as it is done.

    python -m benchmarks.study --out=STUDY [--config=configs/quickstart.py] [--targets=0.15,0.25,0.4] \
        [--seeds=0,1,2] [--arms=uniform,quarter,search] [--steps=1000] \
        [--config_fields data.num_validation=400 train.eval_batch_size=20]

Targets are shares of the latency of BiSeNetV2-LIR's own proportions (the config's supernet with stages and depth as
published, a convolution in every mixed block), so that spaces can be compared. Every arm trains for `steps` steps of
the config's batch size and recipe; what an arm spends on a supernet and on a search is part of its steps (the passes
that compare paths on held-out pictures are not: a few per cent of the shortest runs). Rows are in `rows.jsonl` of the
folder: a study that was stopped goes on with what is missing. `study.md` and `study.json` hold means, and paired
margins of the search over the better uniform arm with their 95 % intervals (Student's t over seeds).
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import ml_collections
import numpy as np
import scipy.stats
from jaxtyping import Float
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rtseg_jax.architecture import ArchSpec, Network, NetworkSpec, counts, declare, declare_spec
from rtseg_jax.command_line import load_config
from rtseg_jax.config import RunSpec, run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.files import append_line, read_rows, write_json, write_text
from rtseg_jax.latency import LatencyModel, network_latency, run_sweep_in_child
from rtseg_jax.search.arch_params import importance
from rtseg_jax.search.decide import LANDING, CostOf, full_widths, make_spec
from rtseg_jax.search.ranking import Ranking
from rtseg_jax.search.uniform import uniform_spec
from rtseg_jax.training.deciding import Decider
from rtseg_jax.training.run import Run
from rtseg_jax.training.state import TrainState
from rtseg_jax.training.train_and_evaluate import train_and_evaluate
from rtseg_jax.training.workdir import Workdir

PUBLISHED_SHAPE = {
    "segment_blocks": (1, 1, 3),
    "stem_width": 1.0,
    "stage_widths": (1.0, 1.0, 1.0),
    "head_channels": 1024,
}
"""BiSeNetV2's proportions; the rest of the network is that of the config."""

SUPERNET_SHARE, SEARCH_SHARE = 0.08, 0.1  # of the steps of a search by worth, while these are few
SUPERNET_STEPS, SEARCH_STEPS = 64, 80  # at most: what they leave trains no better than fresh weights
RANDOM_TRIES = 1000


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training: an arm at a target, with a seed."""

    arm: str
    target: float
    seed: int

    @property
    def name(self) -> str:
        """Of its workdir."""
        return f"{self.arm}_{self.target:g}_{self.seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """What all arms share.

    Attributes:
      out: folder of rows, predictor and workdirs.
      config: recipe, with the steps of the study.
      spec: the same, frozen.
      model: latency predictor.
      full_ms: predicted latency of BiSeNetV2-LIR's proportions, of which targets are shares.
      steps: of every arm.
    """

    out: Path
    config: ml_collections.ConfigDict
    spec: RunSpec
    model: LatencyModel
    full_ms: float
    steps: int

    def latency_of(self, network: Network) -> CostOf:
        """Predicted milliseconds of decisions in this space."""
        return CostOf(network, network_latency(network, self.spec.latency.image_size, self.model))

    def published_shape(self) -> NetworkSpec:
        """The supernet in BiSeNetV2's proportions."""
        return dataclasses.replace(self.spec.network, **PUBLISHED_SHAPE)  # type: ignore[arg-type]


Prepare = Callable[[Study, Trial, ml_collections.ConfigDict, Workdir], None]


def scaled(form: str, published: bool = False) -> Prepare:
    """An arm that scales the supernet's shape, or BiSeNetV2's, by one factor."""

    def prepare(study: Study, trial: Trial, config: ml_collections.ConfigDict, workdir: Workdir) -> None:
        network_spec = study.published_shape() if published else study.spec.network
        network = declare(network_spec)
        target = trial.target * study.full_ms
        from_scratch(
            study, config, workdir, uniform_spec(network_spec, network, study.latency_of(network), target, form)
        )

    return prepare


def from_scratch(study: Study, config: ml_collections.ConfigDict, workdir: Workdir, arch: ArchSpec) -> None:
    """Makes the run train this architecture alone, for all steps."""
    config.phases = ("finetune",)
    config.network.update(dataclasses.asdict(arch.network))
    del config.network["num_classes"]
    config.train.pretrain_steps = config.train.search_steps = 0
    config.train.finetune_steps = study.steps
    arch.save(workdir.searched)


def search(study: Study, trial: Trial, config: ml_collections.ConfigDict, workdir: Workdir) -> None:
    """The search by worth."""
    del workdir
    config.phases = ("pretrain", "search", "finetune")
    config.search.rule, config.search.literal = "worth", False
    rounds = config.search.rounds
    config.train.pretrain_steps = min(round(SUPERNET_SHARE * study.steps), SUPERNET_STEPS)
    config.train.search_steps = round(min(SEARCH_SHARE * study.steps, SEARCH_STEPS) / rounds) * rounds
    config.train.finetune_steps = study.steps - config.train.pretrain_steps - config.train.search_steps
    config.latency.target_ms = trial.target * study.full_ms


def by_magnitude(decider: Decider, state: TrainState) -> dict[str, Ranking]:
    """Channels by the squares of their batch norms' scales, each alone: what pruning goes by most often."""
    scales = importance(decider.run.supernet, jax.device_get(state.variables["params"]))
    return {name: ranked_alone(np.square(scales[name]), np.asarray(mask)) for name, mask in state.arch.masks.items()}


def ranked_alone(worth: Float[np.ndarray, " g"], mask: Float[np.ndarray, " g"]) -> Ranking:
    """The channels that take part, by a worth of their own whatever becomes of the others."""
    members = np.flatnonzero(mask)
    order = members[np.argsort(-worth[members], kind="stable")]
    return Ranking(order, np.concatenate([[0.0], np.cumsum(worth[order])]))


def published(study: Study, trial: Trial, config: ml_collections.ConfigDict, workdir: Workdir) -> None:
    """The published rule, in the shares of the published schedule."""
    del workdir
    config.phases = ("pretrain", "search", "finetune")
    config.search.rule, config.search.literal, config.train.restarts = "published", False, False
    config.train.pretrain_steps = round(0.44 * study.steps)
    config.train.search_steps = round(0.2 * study.steps)
    config.train.finetune_steps = study.steps - config.train.pretrain_steps - config.train.search_steps
    config.latency.target_ms = trial.target * study.full_ms


def searched_from_scratch(study: Study, trial: Trial, config: ml_collections.ConfigDict, workdir: Workdir) -> None:
    """The architecture that `search` found, trained alone from the start."""
    found = Workdir(study.out / dataclasses.replace(trial, arm="search").name).searched
    if not found.exists():
        raise UserError(
            f"{found}: the arm 'scratch' needs the arm 'search' of the same target and seed; run that first"
        )
    from_scratch(study, config, workdir, ArchSpec.load(found))


def random_architecture(study: Study, trial: Trial, config: ml_collections.ConfigDict, workdir: Workdir) -> None:
    """A random architecture at the target: paths, and shares of the groups even in their logarithm."""
    network = declare(study.spec.network)
    latency_of, target = study.latency_of(network), trial.target * study.full_ms
    generator = np.random.default_rng([trial.seed, 5])
    for _ in range(RANDOM_TRIES):
        paths = {mixed.name: str(generator.choice(mixed.choices)) for mixed in network.mixed_blocks}
        shares = {g.name: g.size * np.exp(generator.uniform(np.log(0.1), 0.0)) for g in network.searched_groups}
        for factor in np.geomspace(1.0, 0.05, 200):
            widths = {g.name: g.snap(round(factor * shares[g.name])) for g in network.searched_groups}
            if (cost := latency_of(widths, paths)) <= target:
                break
        if LANDING[0] * target <= cost <= target:
            from_scratch(study, config, workdir, make_spec(study.spec.network, network, widths, paths))
            return
    raise UserError(f"no random architecture within 98–100 % of {target:.2f} ms was found; choose another target")


ARMS: dict[str, Prepare] = {
    "uniform": scaled("lir"),  # (a), strongest paths
    "quarter": scaled("lir_quarter_head"),  # (b)
    "mixed": scaled("mixed"),  # (a), both operators averaged
    "skip": scaled("skip"),  # (a)
    "mhsa": scaled("mhsa"),  # (a)
    "bisenetv2": scaled("lir", published=True),  # (c)
    "bisenetv2_quarter": scaled("lir_quarter_head", published=True),
    "random": random_architecture,  # (e)
    "published": published,  # (f)
    "magnitude": search,  # (d), with `search`'s prior, paths and rounds: the criterion alone differs
    "search": search,  # (g)
    "scratch": searched_from_scratch,  # (h)
}
UNIFORM = ("uniform", "quarter")
CRITERIA = {"magnitude": by_magnitude}
"""What channels are worth in arms that search by something else than gradients."""


def prepared(arguments: argparse.Namespace) -> Study:
    """Reads the config and measures the device where no predictor is recorded."""
    config = load_config(arguments.config)
    config.train.eval_every, config.train.tensorboard = 0, False
    for field in arguments.config_fields:
        name, _, value = field.partition("=")
        config.update_from_flattened_dict({name: json.loads(value)})
    spec = run_spec(config)
    folder = Path(config.latency.predictor or arguments.out / "latency")
    if not config.latency.predictor and not (folder / "predictor.json").exists():
        run_sweep_in_child(spec.network, spec.latency, folder)
    config.latency.predictor = str(folder)
    Run.start(run_spec(config), Workdir(arguments.out / "checks")).costs()  # is it of this supernet and size?
    same_study(arguments.out / "study_config.json", config, arguments.steps)
    study = Study(arguments.out, config, spec, LatencyModel.load(folder), 0.0, arguments.steps)
    shape = study.published_shape()
    network = declare(shape)
    full = study.latency_of(network)(full_widths(network), {mixed.name: "lir" for mixed in network.mixed_blocks})
    return dataclasses.replace(study, full_ms=full)


def same_study(path: Path, config: ml_collections.ConfigDict, steps: int) -> None:
    """Rows of one folder are comparable; raises `UserError` where they would not be."""
    shares = [SUPERNET_SHARE, SUPERNET_STEPS, SEARCH_SHARE, SEARCH_STEPS]
    wanted = {"steps": steps, "shares": shares, "config": json.loads(config.to_json_best_effort())}
    if path.exists() and json.loads(path.read_text()) != wanted:
        raise UserError(f"{path}: its rows are of another config, other steps or other shares; name another --out")
    write_json(path, wanted)


def run(study: Study, trial: Trial) -> dict[str, Any]:
    """Trains one trial; its row."""
    workdir = Workdir(study.out / trial.name)
    config = study.config.copy_and_resolve_references()
    config.seed = trial.seed
    workdir.root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with config.unlocked():
        ARMS[trial.arm](study, trial, config, workdir)
    criterion = patch.object(Decider, "rankings", CRITERIA.get(trial.arm, Decider.rankings))
    with criterion, (workdir.root / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        results = train_and_evaluate(config, workdir.root)["phases"]
    jax.clear_caches()
    arch = ArchSpec.load(workdir.searched)
    network = declare_spec(arch)
    size = study.spec.latency.image_size
    shutil.rmtree(workdir.root / "checkpoints", ignore_errors=True)  # gigabytes of them by the end
    return {
        **dataclasses.asdict(trial),
        "miou": results["finetune"]["miou"],
        "predicted_ms": study.latency_of(declare(arch.network))(arch.widths, arch.paths),
        "target_ms": trial.target * study.full_ms,
        "gmacs": counts.macs(network, size) / 1e9,
        "parameters": counts.parameters(network),
        "paths": dict(arch.paths),
        "widths": dict(arch.widths),
        "steps": study.steps,
        "seconds": time.monotonic() - began,
    }


@dataclasses.dataclass(frozen=True)
class Margin:
    """How far the search is above the better uniform arm at one target, in points of mIoU.

    Attributes:
      target: share of the full latency.
      over: the uniform arm with the higher mean over these seeds.
      margins: by seed.
      mean: of them.
      low, high: ends of the 95 % interval of the mean; equal to it for a single seed, where nothing is known.
    """

    target: float
    over: str
    margins: tuple[float, ...]
    mean: float
    low: float
    high: float


def margin(rows: Sequence[Mapping[str, Any]], target: float, arm: str = "search") -> Margin | None:
    """Paired over the seeds that have all arms; None where there is none."""
    scores = {(row["arm"], row["seed"]): 100 * row["miou"] for row in rows if row["target"] == target}
    seeds = sorted(s for a, s in scores if a == arm and all((other, s) in scores for other in UNIFORM))
    if not seeds:
        return None
    over = max(UNIFORM, key=lambda other: np.mean([scores[other, seed] for seed in seeds]))
    margins = np.asarray([scores[arm, seed] - scores[over, seed] for seed in seeds])
    half = 0.0
    if len(seeds) > 1:
        half = float(scipy.stats.t.ppf(0.975, len(seeds) - 1) * margins.std(ddof=1) / np.sqrt(len(seeds)))
    mean = float(margins.mean())
    return Margin(target, over, tuple(margins.tolist()), mean, mean - half, mean + half)


def markdown(rows: Sequence[Mapping[str, Any]], full_ms: float) -> str:
    """Means with deviations by arm and target, then the margins."""
    targets = sorted({row["target"] for row in rows})
    lines = ["| arm | " + " | ".join(f"{t:g} of {full_ms:.2f} ms" for t in targets) + " |"]
    lines += ["|---|" + "---|" * len(targets)]
    for arm in ARMS:
        cells = []
        for target in targets:
            values = [100 * row["miou"] for row in rows if (row["arm"], row["target"]) == (arm, target)]
            spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.2f}{spread} ({len(values)})" if values else "–")
        if any(cell != "–" for cell in cells):
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    lines += ["", "mIoU in per cent, mean ± deviation over seeds (number of seeds).", ""]
    for target in targets:
        found = margin(rows, target)
        if found is not None:
            lines.append(
                f"- {target:g}: search − {found.over} = {found.mean:+.2f} points, 95 % interval "
                f"[{found.low:+.2f}, {found.high:+.2f}] over {len(found.margins)} seeds"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing, then writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--targets", default="0.15,0.25,0.4")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--config_fields", nargs="*", default=[], metavar="FIELD=JSON")
    arguments = parser.parse_args()
    try:
        unknown = [arm for arm in arguments.arms.split(",") if arm not in ARMS]
        if unknown:
            raise UserError(f"--arms names {unknown[0]!r}; arms are {', '.join(ARMS)}")
        study = prepared(arguments)
        trials = [
            Trial(arm, float(target), int(seed))
            for seed in arguments.seeds.split(",")
            for target in arguments.targets.split(",")
            for arm in arguments.arms.split(",")
        ]
        path = arguments.out / "rows.jsonl"
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns) as progress:
            task = progress.add_task("trials", total=len(trials))
            for trial in trials:
                progress.update(task, description=trial.name)
                known = {(row["arm"], row["target"], row["seed"], row["steps"]) for row in read_rows(path)}
                if (trial.arm, trial.target, trial.seed, study.steps) not in known:
                    row = run(study, trial)
                    append_line(path, json.dumps(row))
                    report(study, read_rows(path))
                progress.advance(task)
        print(report(study, read_rows(path)))
    except UserError as error:
        sys.exit(f"error: {error}")


def report(study: Study, rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes `study.md` and `study.json`; the text of the former."""
    text = markdown(rows, study.full_ms)
    targets = sorted({row["target"] for row in rows})
    margins = [dataclasses.asdict(found) for target in targets if (found := margin(rows, target)) is not None]
    write_json(study.out / "study.json", {"full_ms": study.full_ms, "rows": list(rows), "margins": margins})
    write_text(study.out / "study.md", text)
    return text


if __name__ == "__main__":
    main()
