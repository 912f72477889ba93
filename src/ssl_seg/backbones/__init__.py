"""Networks that turn images into a pyramid of feature maps: one file each."""
