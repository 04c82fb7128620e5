"""`deixis train`."""
