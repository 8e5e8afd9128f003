"""How the official scorers of the data sets turn counts into a mean, where they differ."""

import dataclasses
from collections.abc import Mapping

LEFT_OUT, ZERO = "left out", "counts as 0"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is averaged.

    Attributes:
      name: to print.
      absent: what becomes of a class that is neither in the truth nor predicted: `LEFT_OUT` or `ZERO`.
      only_predicted: the same of a class that is predicted but not in the truth.
      groups: categories that are scored as if they were classes, by name: the names of their classes.
      challenge: whether (pixel accuracy + mIoU) / 2 is a score of this set.
    """

    name: str
    absent: str = LEFT_OUT
    only_predicted: str = ZERO
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    challenge: bool = False

    def __str__(self) -> str:
        return (
            f"mean over classes ({self.name}); absent from truth and prediction: {self.absent}; "
            f"predicted but absent from the truth: {self.only_predicted}"
        )


CITYSCAPES_GROUPS = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}

DEFAULT = Rule("plain")

RULES = {
    "plain": DEFAULT,
    "cityscapes": Rule("Cityscapes", groups=CITYSCAPES_GROUPS),
    "voc": Rule("VOC"),  # its background is a class like any other
    "ade20k": Rule("ADE20K", absent=ZERO, challenge=True),
    "bdd100k": Rule("BDD100K", only_predicted=LEFT_OUT),
}
"""By the names that data sets refer to them by (`DatasetInfo.rule`)."""
