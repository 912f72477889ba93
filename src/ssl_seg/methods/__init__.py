"""Ways to train a backbone without labels: one file each."""
