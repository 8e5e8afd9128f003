"""From trainable indicators to a decided, sliced network."""
