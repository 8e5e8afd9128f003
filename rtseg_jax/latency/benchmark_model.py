"""What TFLite's `benchmark_model` prints.

Written from its source code and from logs that others have published; versions differ in what they tell.
"""

import dataclasses
import re


def last_words(output: str) -> str:
    """The last error in some output, or else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["nothing"])[-1]


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """Time that all operators of a type take together.

    Attributes:
      type: name in the profile.
      count: operators.
      ms: of one run of the model.
    """

    type: str
    count: int
    ms: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What `benchmark_model` printed; None where its version does not tell.

    Attributes:
      runs: that were timed.
      min_ms: of the runs; `p5_ms`, `median_ms`, `p95_ms` and `mean_ms` likewise.
      init_ms: to load the model and apply the delegate.
      peak_mb: of the process's memory, sampled while it ran; only where it was asked for.
      applied: how much of the graph took the delegate that it was told to apply: `completely`, `partially` or `not`.
      delegated: nodes and partitions of every delegate.
      operators: profile of the graph; a delegate is one operator in it.
      inside_delegate: profile of the delegate, where it gives one.
    """

    runs: int
    min_ms: float
    mean_ms: float
    p5_ms: float | None
    median_ms: float | None
    p95_ms: float | None
    init_ms: float
    peak_mb: float | None
    applied: str | None
    delegated: tuple[str, ...]
    operators: tuple[OperatorTime, ...]
    inside_delegate: tuple[OperatorTime, ...]


NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
TIMINGS = re.compile(rf"Inference timings in us: Init: {NUMBER},.* Inference \(avg\): {NUMBER}")
RUNS = re.compile(r"^(?:INFO: )?(count=\d+ .*)$", re.MULTILINE)
STATISTIC = re.compile(rf"(\w+)={NUMBER}")
PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {NUMBER}")
APPLIED = re.compile(r"explicitly applied.* graph will (be completely|be partially|not be)", re.IGNORECASE)
DELEGATED = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
)
UNKNOWN_FLAGS = re.compile(r"Unconsumed cmdline flags: (.*)$", re.MULTILINE)
PROFILE = "Operator-wise Profiling Info for Regular Benchmark Runs:"
INSIDE_DELEGATE = "Delegate internal:"
SUMMARY = "Summary by node type"


def parse_report(output: str) -> Report | None:
    """Reads the output of `benchmark_model`; None where it does not end with timings."""
    timings, runs = TIMINGS.search(output), RUNS.findall(output)
    if not timings or not runs:
        return None
    statistics = {name: float(value) for name, value in STATISTIC.findall(runs[-1])}  # the first are of the warm-up
    ms = {name: value / 1e3 for name, value in statistics.items()}
    peak, applied = PEAK.search(output), APPLIED.search(output)
    graph, _, inside = output.partition(PROFILE)[2].partition(INSIDE_DELEGATE)
    return Report(
        runs=int(statistics["count"]),
        min_ms=ms.get("min", ms["curr"]),  # runs that are all the same have no minimum
        mean_ms=float(timings[2]) / 1e3,
        p5_ms=ms.get("p5"),
        median_ms=ms.get("median"),
        p95_ms=ms.get("p95"),
        init_ms=float(timings[1]) / 1e3,
        peak_mb=float(peak[1]) if peak else None,
        applied=applied[1].removeprefix("be ").removesuffix(" be") if applied else None,
        delegated=tuple(f"{name}: {n} of {m} nodes in {k} partitions" for n, m, name, k in DELEGATED.findall(output)),
        operators=parse_summary(graph),
        inside_delegate=parse_summary(inside),
    )


def unknown_flags(output: str) -> str | None:
    """Flags that an older version did not know and so ignored."""
    found = UNKNOWN_FLAGS.search(output)
    return found[1].strip() if found else None


def parse_summary(text: str) -> tuple[OperatorTime, ...]:
    """Rows of the first table by node type; columns are separated by tabs."""
    rows = [line.split("\t") for line in text.partition(SUMMARY)[2].partition("\n\n")[0].splitlines()[2:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return tuple(OperatorTime(row[0], int(row[1]), float(row[2])) for row in cells if len(row) >= 3)
