"""`deixis caption`: a verb over the capability of that name."""
