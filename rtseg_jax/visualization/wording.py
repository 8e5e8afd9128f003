"""What people read in the place of keys, and how figures are rounded."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

NETWORKS = {
    "supernet": "Supernet",
    "searched, sliced": "Searched, as cut out",
    "searched, recalibrated": "Searched, recalibrated",
    "searched": "Searched",
    "uniform": "Uniform scaling",
    "bisenetv2": "BiSeNetV2",
    "trained": "Trained as it is",
}
PHASES = {
    "pretrain": "pretraining",
    "search": "search",
    "finetune": "fine-tuning",
    "uniform": "uniform scaling",
    "train": "training",
    "evaluate": "evaluation",
    "export": "export",
}
LOSSES = {"cost": "cost against its target", "auxiliary": "auxiliary heads", "total": "sum of the losses"}
FILES = {
    "fp16": "weights of 16 bits, computed in float32",
    "dynamic": "weights of 8 bits, feature maps in float32",
    "int8": "weights and feature maps of 8 bits",
    "int8_float_attention": "weights and feature maps of 8 bits, products and softmax of attention in float32",
}
PRECISIONS = {
    name: f"{name}: {text}; scores and latencies of trained networks are those of such files"
    for name, text in FILES.items()
}
PARTS = {
    "detail": "Detail branch",
    "stem": "Stem",
    "context": "Context embedding",
    "aggregation": "Aggregation",
    "head": "Head",
}
CHOICES = {"skip": "nothing", "lir": "LIR", "mhsa": "MHSA"}
BLOCKS = CHOICES | {"down": "downsampling"}
LAYERS = {"expand": "expansion", "conv": "convolution", "out": "output"}

_GROUP = re.compile(r"([a-z]+)(\d*)[._]?(.*)", re.DOTALL)


def name_of(table: dict[str, str], key: str) -> str:
    """The name for people; keys that have none are their own."""
    return table.get(key, key)


def quantity(unit: str) -> str:
    """What is counted in a unit of cost: `latency` in milliseconds, else `cost`."""
    return "latency" if unit.rsplit(maxsplit=1)[-1] == "ms" else "cost"


def part_of(group: str) -> str:
    """The part of the network that a group or block belongs to: `stage8_1_lir.expand` → Stage 1/8."""
    word, number = _split(group)[:2]
    if word == "stage" and number:
        return f"Stage 1/{number}"
    return PARTS.get(word, f"{word}{number}".capitalize())


def within_part(group: str) -> str:
    """The rest of the name: `stage8_1_lir.expand` → LIR 1, expansion."""
    block, _, layer = _split(group)[2].partition(".")
    words = [_block(block)] if block else []
    words += [LAYERS.get(layer, layer.replace("_", " "))] if layer else []
    return ", ".join(words) or "output"


def _split(group: str) -> tuple[str, str, str]:
    match = _GROUP.fullmatch(group)
    return (match[1], match[2], match[3]) if match else (group, "", "")


def _block(name: str) -> str:
    if re.fullmatch(r"\d+_\d+", name):
        return "convolution " + name.replace("_", ".")
    number, _, kind = name.partition("_")
    if number.isdigit():
        return f"{BLOCKS.get(kind, kind or 'block')} {number}"
    return BLOCKS.get(name) or LAYERS.get(name, name.replace("_", " "))


def percent(share: float | None) -> str:
    """One digit after the point: 37.2 %."""
    return "–" if share is None else f"{100 * share:.1f} %"


def points(gain: float) -> str:
    """A difference of shares in points, with its sign: +0.8, −1.2, 0.0."""
    text = f"{100 * gain:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def three_digits(value: float | None) -> str:
    """Three significant digits, whole numbers from a thousand on: 2.97, 29.0, 1,234."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".removesuffix(".")


def millions(count: int | None) -> str:
    """Two digits after the point or three significant ones: 0.344 M, 24.43 M."""
    return "–" if count is None else f"{count / 1e6:.{3 if count < 1e6 else 2}f} M"


def duration(seconds: float) -> str:
    """The two largest units: 1 h 5 min, 1 min 28 s, 8 s."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def devices(names: Sequence[str]) -> str:
    """What JAX computed on, counted: 8 × NVIDIA H100."""
    kinds = Counter(name.partition(": ")[2].replace("cpu", "CPU") for name in names)
    return ", ".join(f"{number} × {kind}" for kind, number in kinds.items())


def size(height_width: Any) -> str:
    """Height × width."""
    return " × ".join(str(number) for number in height_width)
