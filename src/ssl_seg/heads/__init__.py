"""What turns a feature pyramid into logits: one file each."""
