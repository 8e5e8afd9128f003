r"""Measures a device and fits its latency predictor.

examples:
    rtseg_jax measure --device=host_cpu --output=latency/host --width=1.0 --image_size=512x1024
    rtseg_jax measure --config=configs/camvid.py --output=latency/host --num_blocks=400 --num_networks=60
    rtseg_jax measure --config=configs/camvid.py --device=browser --share --output=latency/phone
    rtseg_jax measure --threads=2 --adapt_from=latency/host --output=latency/two_threads \
        --width=1.0 --image_size=512x1024 --num_blocks=25 --num_networks=25

Measurements go to `measurements.jsonl`, the predictor and its card to `predictor.json`, plots to `report/`. A sweep
that was stopped goes on where it was; one that is finished is only fitted again. With a config, what a run of it would
measure is measured: its network at its image size, by its `latency` settings, unless a flag says otherwise.
`--device=browser` prints a link, and what opens it is measured: its GPU (`browser_fp16`: in float16) or its CPU
(`browser_wasm`). The last example adapts the predictor of one device to a similar one by a few measurements.
"""

import dataclasses
import json
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from rich.progress import Progress

from rtseg_jax.architecture import MIXED, SKIP, ArchSpec, NetworkSpec, declare
from rtseg_jax.command_line import Command, output_flag, parse_size
from rtseg_jax.config import run_spec
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import CONVERTERS, PRECISIONS
from rtseg_jax.files import check_folder, place
from rtseg_jax.latency import LatencyModel, sweep
from rtseg_jax.latency.child import FILE, PROGRESS
from rtseg_jax.latency.devices import BACKENDS, SWEEP_BACKENDS, browser, check_device, check_precision
from rtseg_jax.latency.pricing import latency_by_part
from rtseg_jax.latency.spec import LatencySpec
from rtseg_jax.search.decide import full_widths, make_spec
from rtseg_jax.visualization.latency_report import LatencyReport, write_latency_report
from rtseg_jax.zoo import RTSeg

DEFAULT = LatencySpec()
FIELDS = ("device", "threads", "runs", "num_blocks", "num_networks", "num_unseen", "seed", "converter", "precision")
"""Of `LatencySpec`, which flags of these names set; where a config is given, only those that are given too."""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags, those of the config aside."""
    text, number = partial(flags.DEFINE_string, flag_values=values), partial(flags.DEFINE_integer, flag_values=values)
    output_flag(values, "DIR: folder of measurements, predictor and report.")
    devices = ", ".join(BACKENDS | SWEEP_BACKENDS)
    text("device", DEFAULT.device, f"NAME: what to measure, one of {devices}.")
    number("threads", DEFAULT.threads, "Threads of the runtime.", lower_bound=1)
    number("num_classes", 19, "Classes of the network.", lower_bound=2)
    flags.DEFINE_float("width", 1.0, "Width of the supernet.", flag_values=values)
    text("block", "mixed", "NAME: operator of the blocks: mixed, or everywhere lir or mhsa.")
    text("image_size", "x".join(map(str, DEFAULT.image_size)), "HEIGHTxWIDTH: size of the pictures.")
    number("num_blocks", DEFAULT.num_blocks, "Blocks to measure.", lower_bound=1)
    number("num_networks", DEFAULT.num_networks, "Whole networks to measure.", lower_bound=1)
    number("num_unseen", DEFAULT.num_unseen, "Whole networks to judge the predictor by.", lower_bound=0)
    number("runs", DEFAULT.runs, "Runs of each model.", lower_bound=1)
    choice = partial(flags.DEFINE_enum, flag_values=values)
    choice("converter", DEFAULT.converter, CONVERTERS, "Who writes the TFLite files that are timed.")
    choice("precision", DEFAULT.precision, PRECISIONS, "Numbers of these files; int8: integers throughout.")
    text("adapt_from", None, "DIR: sweep of another device, same search space: its predictor is adapted.")
    number("seed", DEFAULT.seed, "Seed of the sampled widths and paths.")
    browser.define_flags(values)
    text(
        "request",
        None,
        "FILE: JSON with `network` or `networks`, and `latency`; replaces the flags above but --output.",
    )


def _end_with_parent() -> None:
    """A run that is killed cannot end its sweep, and the next one begins another on the same machine."""
    try:
        sys.stdin.read()
    except OSError:  # there is none: nobody waits for this sweep
        return
    os._exit(1)


def main(_: list[str], values: flags.FlagValues) -> None:
    """Runs a sweep, or measures the networks of a request."""
    if values.request is not None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    out_dir, request = place(values.output), _request(values)
    spec = LatencySpec(**_tuples(request["latency"]))
    check_device(spec.device, "--device")
    check_precision(spec.device, spec.precision, "--precision")
    browser.use_flags(values)
    check_folder(out_dir, "--output")
    base = LatencyModel.load(place(values.adapt_from)) if values.adapt_from else None
    with _Reporter(bar=values.request is None) as report:
        if "networks" in request:
            timings = sweep.measure_networks([*map(_named, request["networks"])], spec, report)
            sweep.save_timings(timings, out_dir / "timings.json")
            return
        network_spec = NetworkSpec.from_json(request["network"])
        result = sweep.sweep(network_spec, spec, out_dir, report, base)
    page = write_latency_report(_report(network_spec, result), out_dir / "report")
    print(f"{sweep.summary(result.model)}\n{page}")


def _named(network: dict[str, Any]) -> ArchSpec | bytes:
    """A network of a request: an architecture, or the contents of a file."""
    return place(network[FILE]).read_bytes() if FILE in network else ArchSpec.from_json(network)


def _report(network_spec: NetworkSpec, result: sweep.Sweep) -> LatencyReport:
    """What the page shows: errors of everything held out, and some networks taken apart."""
    model = result.model
    size = tuple(model.card["image_size"])
    parts = {name: latency_by_part(arch, size, model) for name, arch in _examples(network_spec).items()}
    networks = result.networks.get(sweep.UNSEEN, result.networks[sweep.LEFT_OUT])
    title = f"Latency of {model.card['device']}"
    return LatencyReport(title, model.unit, model.card, result.blocks, networks, parts)


def _examples(network_spec: NetworkSpec) -> dict[str, ArchSpec]:
    network = declare(network_spec)
    full = full_widths(network)
    half = {group.name: group.snap(group.size // 2) for group in network.searched_groups}
    floors = {group.name: group.floor for group in network.searched_groups}
    choices = [("full widths", full, MIXED), ("half as wide", half, MIXED), ("smallest", floors, MIXED)]
    if network.mixed_blocks:
        operators = network.mixed_blocks[0].choices[1:]
        choices = [
            ("supernet", full, MIXED),
            *((f"{path}, full widths", full, path) for path in operators),
            (f"{operators[0]}, half as wide", half, operators[0]),
            ("smallest", floors, SKIP),
        ]
    return {
        name: make_spec(network_spec, network, widths, {mixed.name: path for mixed in network.mixed_blocks})
        for name, widths, path in choices
    }


def _request(values: flags.FlagValues) -> dict[str, Any]:
    if values.request is not None:
        path = Path(values.request)
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"--request={path}: not a file of JSON ({' '.join(str(error).split())})") from error
    flagged = {name: values[name] for name in FIELDS}
    if values.config is None:
        latency = {name: flag.value for name, flag in flagged.items()}
        latency |= {"image_size": parse_size("image_size", values.image_size)}
        network = RTSeg(values.num_classes, width=values.width, block=values.block)
        return {"network": network.to_json(), "latency": latency}
    spec = run_spec(values.config)
    given = {name: flag.value for name, flag in flagged.items() if flag.present}
    return {"network": spec.network.to_json(), "latency": dataclasses.asdict(spec.latency) | given}


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


class _Reporter:
    """Shows progress: a bar for people, lines for the process that started this one."""

    def __init__(self, bar: bool):
        self._bar = Progress() if bar else None

    def __enter__(self) -> sweep.Report:
        if self._bar is None:
            return lambda done, total, text: print(PROGRESS, done, total, text, flush=True)
        bar = self._bar.__enter__()
        task = bar.add_task("measuring", total=None)
        return lambda done, total, text: bar.update(task, completed=done, total=total, description=text)

    def __exit__(self, *details: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*details)


COMMAND = Command(
    __doc__ or "",
    define_flags,
    main,
    needed={"output": "name the folder of measurements, predictor and report"},
    config="Config of a run: its network is measured, as its `latency` says where no flag does.",
    interrupted="interrupted: the same command goes on where this one was",
)


def run() -> None:
    """Entry point of the module."""
    COMMAND.start()


if __name__ == "__main__":
    run()
