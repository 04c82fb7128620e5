"""`deixis explain`, and what other verbs explain scores with."""
