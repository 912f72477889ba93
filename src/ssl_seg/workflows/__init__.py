"""What the library does, callable from Python."""
