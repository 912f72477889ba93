"""Formats in which images and labels lie on disk: one file each."""
