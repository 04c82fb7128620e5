"""`deixis check`."""
