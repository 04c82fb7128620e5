"""`deixis list`."""
