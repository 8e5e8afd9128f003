"""Scores of label maps: counts, means by the rules of each data set, boundaries, and comparisons of two models."""
