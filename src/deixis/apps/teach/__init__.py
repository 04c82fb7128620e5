"""`deixis teach`."""
