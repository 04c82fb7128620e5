"""Products that score more rows a second than float32 does, with a bound on what they are off."""
