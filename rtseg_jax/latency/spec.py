"""What a latency sweep measures, and what the search aims at."""

import dataclasses

from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import CONVERTERS, FLOAT32, JAX2TF, LITERT, PRECISIONS


@dataclasses.dataclass(frozen=True)
class LatencySpec:
    """Device, sweep and target.

    Attributes:
      device: name of a measuring backend, see `latency.devices`.
      threads: of the runtime.
      num_blocks: blocks that are measured on their own; all places of the network are visited in turn.
      num_networks: whole networks that are measured to price what lies between blocks.
      num_unseen: whole networks that the predictor is judged by, measured besides.
      runs: measured runs of each model at least; very short models are repeated more.
      image_size: height and width at which latency counts.
      seed: of the sampled widths and paths.
      target_ms: latency that the search aims at, in milliseconds.
      target_fraction: the same as a fraction of the supernet's; used where `target_ms` is None.
      converter: who writes the TFLite files that devices of files time, one of `export.spec.CONVERTERS`.
      precision: numbers of these files, one of `export.spec.PRECISIONS`; other ones need TensorFlow's converter, and a
        device that times files, see `devices.check_precision`.
    """

    device: str = "host_cpu"
    threads: int = 1
    num_blocks: int = 1000
    num_networks: int = 100
    num_unseen: int = 50
    runs: int = 15
    image_size: tuple[int, int] = (512, 1024)
    seed: int = 0
    target_ms: float | None = None
    target_fraction: float | None = 0.3
    converter: str = JAX2TF
    precision: str = FLOAT32

    def __post_init__(self) -> None:
        for name in ("threads", "num_blocks", "num_networks", "runs"):
            if getattr(self, name) < 1:
                raise UserError(f"latency.{name} is {getattr(self, name)}: it must be at least 1")
        if self.converter not in CONVERTERS:
            raise UserError(f"config.converter is {self.converter!r}: it must be one of {', '.join(CONVERTERS)}")
        if self.precision not in PRECISIONS:
            raise UserError(f"latency.precision is {self.precision!r}: it must be one of {', '.join(PRECISIONS)}")
        if self.precision != FLOAT32 and self.converter == LITERT:
            raise UserError(
                f"latency.precision is {self.precision!r}, but the converter {LITERT} writes {FLOAT32} only; take the "
                f"converter {JAX2TF}"
            )
        if self.num_unseen < 0:
            raise UserError(f"latency.num_unseen is {self.num_unseen}: it must not be negative")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise UserError(f"latency.image_size is {self.image_size}: it must be (height, width)")
        if self.target_ms is None and self.target_fraction is None:
            raise UserError("latency.target_ms and latency.target_fraction are both unset: set one of them")
        if self.target_ms is not None and self.target_ms <= 0:
            raise UserError(f"latency.target_ms is {self.target_ms}: it must be positive")
        if self.target_ms is None and not 0 < self.target_fraction <= 1:  # type: ignore[operator]
            raise UserError(f"latency.target_fraction is {self.target_fraction}: it must be in (0, 1]")

    def target(self, supernet_ms: float) -> float:
        """Milliseconds to aim at, given the supernet's."""
        return self.target_ms if self.target_ms is not None else supernet_ms * float(self.target_fraction or 1.0)
