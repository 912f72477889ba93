"""Trained weights in the layouts of other libraries, each checked before it is in its place."""
