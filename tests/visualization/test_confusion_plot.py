import numpy as np

from rtseg_jax.visualization.confusion_plot import plot_confusion, row_shares

MATRIX = np.array([[3, 1, 0], [0, 0, 0]])


def test_rows_are_shares_and_empty_ones_stay_empty():
    np.testing.assert_array_equal(row_shares(MATRIX), [[0.75, 0.25, 0], [np.nan] * 3])


def test_classes_and_shares_are_named_and_an_empty_last_column_is_left_out():
    panel = plot_confusion(MATRIX, ("road", "sky")).axes[0]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["road", "sky"]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["road", "sky"]
    assert {text.get_position(): text.get_text() for text in panel.texts} == {(0, 0): "75", (1, 0): "25"}
    missed = plot_confusion(MATRIX[:, ::-1], ("road", "sky")).axes[0]
    assert [text.get_text() for text in missed.get_xticklabels()] == ["road", "sky", "no class"]
    assert {text.get_position(): text.get_text() for text in missed.texts} == {(1, 0): "25", (2, 0): "75"}
