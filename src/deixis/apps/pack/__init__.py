"""`deixis pack`."""
