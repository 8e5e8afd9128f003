"""Reading files, on graphs small enough to count by hand."""

import types

import numpy as np

from rtseg_jax.export.operators import _peak_bytes


def tensor(*shape, dtype=0):
    return types.SimpleNamespace(shape=np.array(shape), type=dtype)


def operator(inputs, outputs):
    return types.SimpleNamespace(inputs=np.array(inputs), outputs=np.array(outputs))


def test_the_peak_is_where_most_is_alive():
    # 0 → 1 → 2, and 3 = 1 + 2: at the last operator 1, 2 and 3 are alive.
    tensors = [tensor(10), tensor(20), tensor(30), tensor(5)]
    operators = [operator([0], [1]), operator([1], [2]), operator([1, 2], [3])]
    graph = types.SimpleNamespace(tensors=tensors, operators=operators, inputs=[0], outputs=[3])
    assert _peak_bytes(graph) == 4 * (20 + 30 + 5)


def test_weights_and_their_full_precision_form_are_no_feature_maps():
    # 2 is a float16 weight, 3 its float32 form, which the second operator multiplies with.
    tensors = [tensor(10), tensor(10), tensor(1000, dtype=1), tensor(1000)]
    operators = [operator([2], [3]), operator([0, 3], [1])]
    graph = types.SimpleNamespace(tensors=tensors, operators=operators, inputs=[0], outputs=[1])
    assert _peak_bytes(graph) == 4 * 20


def test_eight_bit_feature_maps_take_a_quarter():
    tensors = [tensor(100, dtype=9), tensor(100, dtype=9)]
    graph = types.SimpleNamespace(tensors=tensors, operators=[operator([0], [1])], inputs=[0], outputs=[1])
    assert _peak_bytes(graph) == 200
