"""`deixis demo`."""
