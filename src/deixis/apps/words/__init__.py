"""`deixis label`."""
