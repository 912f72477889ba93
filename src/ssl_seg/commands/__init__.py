"""The only rooms that know names, print, and end the process."""
