"""`deixis show`."""
