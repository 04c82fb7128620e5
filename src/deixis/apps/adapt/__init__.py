"""`deixis adapt`."""
