"""Fault injection: whole commands, hurt in every way we know; see docs/faults.md."""
