"""Search in vectors that are kept on disk. Needs numpy only, so that a search starts at once."""
