"""Packed images: encoded images in tar files of WebDataset's layout, with a memory-mapped index."""
