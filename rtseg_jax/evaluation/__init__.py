"""Scores of label maps: confusion matrix and intersection over union."""
