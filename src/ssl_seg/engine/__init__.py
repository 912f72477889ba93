"""Training, checkpoints and evaluation; knows modules and tensors, no names."""
