"""Pictures: arrays in, image file out."""
