"""Numbers summed over batches: one file each."""
