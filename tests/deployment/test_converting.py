"""Mixed precision, on a network that is a list of layers; conversion itself is tested through the command."""

from rtseg_jax.deployment.converting import lower_until
from rtseg_jax.export.integer import Calibrated, LayerError


class Layers(Calibrated):
    """Stands in for a calibrated network; a file is the list of what it keeps in float32."""

    worst = tuple(LayerError("CONV_2D", name, error) for name, error in zip("abc", (9.0, 7.0, 0.3), strict=True))

    def __init__(self):
        pass

    def convert(self, float_layers=()):
        return "".join(float_layers).encode()


def points_lost(model: bytes) -> float:
    """What is left in integers costs its error, a tenth of a point each."""
    return sum(layer.error for layer in Layers.worst if layer.tensor.encode() not in model) / 10


def test_nothing_is_kept_where_nothing_is_lost():
    assert lower_until(Layers(), lambda model: 0.0, 1.0) == (b"", ())


def test_the_worst_layers_are_kept_until_little_enough_is_lost():
    model, kept = lower_until(Layers(), points_lost, 0.5)  # 1.63, 0.73 without a, 0.03 without a and b
    assert model == b"ab"
    assert [layer.tensor for layer in kept] == ["a", "b"]


def test_in_the_end_all_are_kept():
    model, kept = lower_until(Layers(), lambda model: 5.0, 1.0)
    assert model == b"abc"
    assert kept == Layers.worst


def test_what_cannot_be_scored_is_left_alone():
    assert lower_until(Layers(), lambda model: None, 1.0) == (b"", ())
