"""What a file to export should be: its input, its ending, its numbers."""

import dataclasses

from rtseg_jax.errors import UserError

HEADS = ("logits", "lowres_logits", "class_map")
INPUTS = ("float", "uint8")
INT8, FLOAT_ATTENTION = INTEGERS = ("int8", "int8_float_attention")
DYNAMIC = "dynamic"
QUANTIZATIONS = ("none", "fp16", DYNAMIC, *INTEGERS)
FLOAT32 = "float32"
PRECISIONS = (FLOAT32, *QUANTIZATIONS[1:])
"""The same of sweeps and runs, where float32 has a name; see `quantization`."""
LEAST_WEIGHTS = 1024
"""Of a kernel that has 8 bits in `dynamic` files; TensorFlow's converter leaves smaller ones in float32."""
JAX2TF, LITERT = CONVERTERS = ("jax2tf", "litert")
CHOICES = {"head": HEADS, "input": INPUTS, "quantize": QUANTIZATIONS, "converter": CONVERTERS}


def quantization(precision: str) -> str:
    """The entry of `QUANTIZATIONS` of one of `PRECISIONS`."""
    return "none" if precision == FLOAT32 else precision


@dataclasses.dataclass(frozen=True)
class ExportSpec:
    """How a network is exported.

    Attributes:
      size: height and width of the pictures that the file takes.
      head: what comes out: `logits` at picture size, `lowres_logits` at 1/8 before the last upsampling, or `class_map`,
        one class per pixel at picture size.
      input: type of the pictures, values 0..255 either way; normalization is inside the file.
      batch: pictures at once.
      quantize: `none` is float32; `fp16` stores weights in half precision; `dynamic` stores weights in 8 bits where
        CPUs have a fast form of that (`hybrid`), and computes in float; `int8` is integer throughout, weights per
        channel; `int8_float_attention` likewise, but that products of two feature maps and softmax are in float32.
      converter: who writes the file: `jax2tf`, with TensorFlow, or `litert`, LiteRT's own, which writes float32 only.
    """

    size: tuple[int, int]
    head: str = "logits"
    input: str = "float"
    batch: int = 1
    quantize: str = "none"
    converter: str = JAX2TF

    @property
    def integers(self) -> bool:
        """Whether the file has to be calibrated, see `integer`."""
        return self.quantize in INTEGERS

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"--{name} is {getattr(self, name)!r}: it must be one of {', '.join(choices)}")
        if self.converter == LITERT and self.quantize != "none":
            raise UserError(
                f"--converter={LITERT} writes float32 only; --quantize={self.quantize} needs --converter={JAX2TF}"
            )
        if self.batch < 1:
            raise UserError(f"--batch is {self.batch}: it must be at least 1")
        if len(self.size) != 2 or min(self.size) < 32:
            raise UserError(
                f"--size is {'x'.join(map(str, self.size))}: the network cannot take that; give HEIGHTxWIDTH, at least "
                "32x32"
            )
