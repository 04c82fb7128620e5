"""`deixis claim`."""
