"""`deixis eval`."""
