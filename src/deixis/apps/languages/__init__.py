"""Languages other than a model's own: how their words are read."""
