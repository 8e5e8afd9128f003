"""What every data set, loss, score and picture agrees on about label maps."""

IGNORE = 255
"""Label of a pixel that is neither learned from nor scored."""
