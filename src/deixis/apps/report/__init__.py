"""Reports and model cards: a result arranged for reading."""
