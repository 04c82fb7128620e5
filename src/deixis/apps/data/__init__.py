"""`deixis data`."""
