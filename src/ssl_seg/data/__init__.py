"""Images on disk, and how they get to the device."""
