"""`deixis ground`: a verb over the capability of that name."""
