"""The largest whole numbers that flags take and weight files may say: what is larger is a slip, or meant to do harm."""

SIDE = 8192  # pixels of an image that a network sees
CANVAS = 1 << 16  # pixels of a stored image's side, and of a tile
COUNT = 10**9  # epochs, steps, images, classes
SEED = 2**63 - 1  # of torch, and of what TOML holds
NUMPY_SEED = 2**32 - 1
