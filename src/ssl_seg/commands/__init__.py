"""The commands: the only package that prints and ends the process."""
