"""`deixis export`."""
