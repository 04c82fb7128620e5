"""`deixis read`: a verb over the capability of that name."""
