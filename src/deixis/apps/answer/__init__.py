"""`deixis answer`: a verb over the capability of that name."""
