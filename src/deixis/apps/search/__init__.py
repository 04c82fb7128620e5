"""`deixis search`."""
