"""The parity card: what an exported file is, and how far it is the network that was trained."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rtseg_jax.export.formats import TFLITE
from rtseg_jax.export.gpu import Verdict
from rtseg_jax.export.operators import Contents
from rtseg_jax.export.parity import Parity
from rtseg_jax.export.spec import INTEGERS, ExportSpec

MOST_LOST = {"none": 0.05, "fp16": 0.1, "dynamic": 1.0} | dict.fromkeys(INTEGERS, 1.0)
"""Points of mIoU that a file may lose, by its numbers."""

UNTESTED = "untested"


@dataclasses.dataclass(frozen=True)
class Card:
    """What was found of an exported file.

    What is told of TFLite files only is None in other forms: `contents`, `verdict`, `how_to_test`, `gpu`, `latency_ms`
    and `noise`.

    Attributes:
      file: its name.
      size: of it, bytes.
      architecture: digest of its `ArchSpec`.
      export: what was asked for.
      contents: operators and tensors.
      float_layers: operators of an integer file that were kept in float32.
      verdict: of the GPU accelerator; None where the machine has none.
      how_to_test: where `verdict` is None, how to get one.
      cpu: agreement with JAX on the CPU; None where no pictures were compared.
      gpu: agreement with JAX on the GPU accelerator, likewise.
      pictures: validation pictures that were scored.
      miou: of the file on them, a share; None where none were scored.
      jax_miou: of the JAX network on the same ones.
      latency_ms: on the host's CPU, one thread.
      noise: of that.
      most_lost: points of mIoU that the file may lose.
      require_gpu: whether an untested GPU is a failure.
      form: one of `formats.FORMATS`.
      scores: everything that was scored of the file, see `Scores.as_json`; None where nothing was.
    """

    file: str
    size: int
    architecture: str
    export: ExportSpec
    contents: Contents | None
    float_layers: int
    verdict: Verdict | None
    how_to_test: str | None
    cpu: Parity | None
    gpu: Parity | None
    pictures: int
    miou: float | None
    jax_miou: float | None
    latency_ms: float | None
    noise: float | None
    most_lost: float
    require_gpu: bool
    form: str = TFLITE
    scores: Mapping[str, Any] | None = None

    @property
    def lost(self) -> float | None:
        """Points of mIoU that the file lost against JAX; negative where it gained."""
        return None if self.miou is None or self.jax_miou is None else 100 * (self.jax_miou - self.miou)

    @property
    def failures(self) -> tuple[str, ...]:
        """Which thresholds are missed, in words."""
        return tuple(filter(None, (self._lost_too_much(), self._gpu_failure(), self._high_rank())))

    def _lost_too_much(self) -> str | None:
        if self.lost is None or self.lost <= self.most_lost:
            return None
        return f"mIoU fell by {self.lost:.2f} points, more than the {self.most_lost:g} allowed"

    def _gpu_failure(self) -> str | None:
        if self.verdict is None:
            return f"the GPU was not tested: {self.how_to_test}" if self.require_gpu else None
        if self.verdict.error:
            return f"the GPU accelerator could not run the file: {self.verdict.error}"
        if not self.verdict.accepted:
            reasons = "; ".join(self.verdict.refused) or "no reason given"
            return f"the GPU accelerator took the graph in {self.verdict.partitions} part(s) and refused: {reasons}"
        return None

    def _high_rank(self) -> str | None:
        names = self.contents.high_rank if self.contents else ()
        return f"tensors of rank over 4, which GPU delegates refuse: {', '.join(names)}" if names else None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, with the conclusions."""
        return {
            **dataclasses.asdict(self),
            "gpu_verdict": self._gpu_word(),
            "lost": self.lost,
            "failures": self.failures,
        }

    def to_markdown(self) -> str:
        """The card for people."""
        rows = [
            ("format", self.form),
            ("architecture", f"`{self.architecture}`"),
            ("input", f"{self.export.batch}×{'×'.join(map(str, self.export.size))}×3 {self.export.input}"),
            ("output", self.export.head),
            ("numbers", self._numbers()),
            ("file", f"{self.size / 1e6:.2f} MB"),
            ("peak of feature maps", f"{self.contents.peak_bytes / 1e6:.2f} MB" if self.contents else self._not_told()),
            ("latency", self._latency_line()),
            ("GPU", self._gpu_line()),
            ("CPU against JAX", _parity_line(self.cpu)),
            ("GPU against JAX", _parity_line(self.gpu) if self.form == TFLITE else self._not_told()),
            ("mIoU", self._miou_line()),
        ]
        table = "\n".join(f"| {name} | {value} |" for name, value in rows)
        failures = "\n".join(f"- **{failure}**" for failure in self.failures) or "None: every threshold is met."
        return f"# {self.file}\n\n| | |\n|---|---|\n{table}\n\n## Failures\n\n{failures}\n{self._operators()}"

    def _operators(self) -> str:
        if self.contents is None:
            return f"\nOperators: {self._not_told()}.\n"
        counts = sorted(self.contents.operators.items(), key=lambda x: -x[1])
        rows = "\n".join(f"| {name} | {count} |" for name, count in counts)
        return f"\n## Operators ({sum(n for _, n in counts)})\n\n| operator | count |\n|---|---|\n{rows}\n"

    def _not_told(self) -> str:
        return f"not determined for {self.form}, only for TFLite files"

    def _latency_line(self) -> str:
        if self.latency_ms is None or self.noise is None:
            return self._not_told()
        return f"{self.latency_ms:.2f} ms on this host, one thread (noise {100 * self.noise:.1f} %)"

    def _gpu_word(self) -> str | None:
        if self.verdict is None:
            return UNTESTED if self.form == TFLITE else None
        return "accepted" if self.verdict.accepted else "refused"

    def _numbers(self) -> str:
        numbers = "float32" if self.export.quantize == "none" else self.export.quantize
        return f"{numbers}, {self.float_layers} layers in float32" if self.float_layers else numbers

    def _gpu_line(self) -> str:
        if self.form != TFLITE:
            return self._not_told()
        if self.verdict is None:
            return f"{UNTESTED}: {self.how_to_test}"
        said = "takes all operators" if self.verdict.accepted else self._gpu_failure()
        return f"{said}, {self.verdict.partitions} partition(s), on {self.verdict.adapter}"

    def _miou_line(self) -> str:
        if self.miou is None or self.jax_miou is None or self.lost is None:
            return "not scored"
        return (
            f"{100 * self.miou:.2f} % of the file, {100 * self.jax_miou:.2f} % of JAX, on {self.pictures} validation "
            f"pictures: {self.lost:+.3f} points lost"
        )


def _parity_line(parity: Parity | None) -> str:
    if parity is None:
        return "not compared"
    return (
        f"largest difference {parity.max_difference:.1e}, mean {parity.mean_difference:.1e} of the largest output; "
        f"{100 * parity.pixel_agreement:.2f} % of pixels agree ({parity.pictures} pictures)"
    )
