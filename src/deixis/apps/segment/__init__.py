"""`deixis segment`: a verb over the capability of that name."""
