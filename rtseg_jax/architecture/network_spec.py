"""What a network is built from: a class of fields per network, registered by its name."""

import abc
import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rtseg_jax.architecture.graph import Network
from rtseg_jax.errors import UserError

PAGES = "rtseg_jax.zoo"  # its pages register themselves; a file that names one may be read before anyone imported them


@dataclasses.dataclass(frozen=True)
class Score:
    """A published mIoU in percent.

    Attributes:
      data_set: such as Cityscapes.
      split: val or test.
      miou: percent.
      source: who printed it.
      pretrained: whether training began with weights of ImageNet; None where no source says, or two disagree.
    """

    data_set: str
    split: str
    miou: float
    source: str
    pretrained: bool | None = None

    @property
    def start(self) -> str:
        """What training began with, for people."""
        return {True: "pre-trained", False: "not pre-trained", None: "pre-training unknown"}[self.pretrained]


@dataclasses.dataclass(frozen=True)
class Speed:
    """Frames per second that somebody printed.

    Attributes:
      device: where they were measured.
      size: height and width of the pictures.
      fps: pictures per second, batch 1.
      source: who printed them.
    """

    device: str
    size: tuple[int, int]
    fps: float
    source: str


WORKSTATION, EMBEDDED = "RTX 3090", "Jetson Xavier AGX"
"""Devices of the survey's Table IV."""


def survey_speeds(full: float, half: float, quarter: float, embedded: float) -> tuple[Speed, ...]:
    """A row of the survey's Table IV: its GPU at 2048×1024, 1024×512 and 512×256, and its embedded one at 512×256."""
    sizes = (1024, 2048), (512, 1024), (256, 512)
    workstation = zip(sizes, (full, half, quarter), strict=True)
    rows = [(WORKSTATION, *row) for row in workstation] + [(EMBEDDED, sizes[-1], embedded)]
    return tuple(Speed(device, size, fps, "survey") for device, size, fps in rows)


@dataclasses.dataclass(frozen=True)
class Published:
    """What is printed of a network.

    Attributes:
      title: its name, for people.
      paper: authors and year.
      taxonomy: of the survey: ED encoder-decoder, MB multi-branch, ML meta-learning, AT attention, TO training
        optimisation; empty for networks that it does not have.
      variant: which of several networks of that name this one is.
      scores: mIoU, each with its source.
      speeds: frames per second, likewise.
    """

    title: str
    paper: str
    taxonomy: str
    variant: str
    scores: tuple[Score, ...] = ()
    speeds: tuple[Speed, ...] = ()


@dataclasses.dataclass(frozen=True)
class NetworkSpec(abc.ABC):
    """The fields of a network. Subclasses with a `name` are registered under it.

    Attributes:
      num_classes: classes that are predicted, the ignored one not counted.
    """

    name: ClassVar[str] = ""
    published: ClassVar[Published]
    later: ClassVar[tuple[str, ...]] = ()
    registry: ClassVar[dict[str, type["NetworkSpec"]]] = {}

    num_classes: int

    def __init_subclass__(cls, *, name: str = "", published: Published | None = None) -> None:
        super().__init_subclass__()
        if name and published is not None:
            cls.name, cls.published = name, published
            NetworkSpec.registry[name] = cls

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise UserError(f"network.num_classes is {self.num_classes}: a segmentation needs at least 2 classes")

    @abc.abstractmethod
    def declare(self) -> Network:
        """The whole network; a supernet with every choice open."""

    def to_json(self) -> dict[str, Any]:
        """Name and fields as plain values.

        Fields that came when there were files already (`later`) are left out at their usual value: digests stay.
        """
        usual = {field.name for field in dataclasses.fields(self) if getattr(self, field.name) == field.default}
        left_out = usual.intersection(self.later)
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in left_out}
        return {"name": self.name, "fields": fields}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "NetworkSpec":
        """Inverse of `to_json`; raises `UserError` for a name that nobody has."""
        fields = {key: tuple(field) if isinstance(field, list) else field for key, field in value["fields"].items()}
        make: Callable[..., NetworkSpec] = network_class(value["name"])
        return make(**fields)


def network_class(name: str) -> type[NetworkSpec]:
    """The registered class; raises `UserError` where there is none."""
    known = network_classes()
    if name not in known:
        raise UserError(f"there is no network {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def network_classes() -> dict[str, type[NetworkSpec]]:
    """Every network by name."""
    importlib.import_module(PAGES)
    return dict(NetworkSpec.registry)
