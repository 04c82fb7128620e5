"""`deixis index`."""
