"""The comparison of who rounds to 8 bits; what it needs of other libraries is not installed here."""

import numpy as np

from benchmarks.quantizers import SIGNATURE, Row, table, with_signature
from rtseg_jax.export import litert
from rtseg_jax.export.interpreter import load_interpreter


def test_a_file_with_a_signature_is_the_same_function():
    plain = litert.convert(lambda x, y: x - 2 * y, [(3,), (3,)])
    assert not load_interpreter(plain).get_signature_list()
    interpreter = load_interpreter(with_signature(plain))
    assert list(interpreter.get_signature_list()) == [SIGNATURE]
    runner = interpreter.get_signature_runner(SIGNATURE)
    inputs = {name: np.float32([5, 7, number]) for number, name in enumerate(map(litert.INPUTS.format, (0, 1)))}
    np.testing.assert_array_equal(runner(**inputs)[litert.OUTPUT], [-5, -7, -2])


def test_a_row_for_every_file():
    row = Row("int8", "somebody", size=408_480, seconds=12.34, lost=0.172, agreement=0.98515, ms=4.0827)
    assert table([row]).splitlines()[-1] == "| int8 | somebody | 408 | 12.3 | 0.17 | 98.52 | 4.08 |"
