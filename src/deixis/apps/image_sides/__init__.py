"""Encoders that see images and read no text, by name: towers, and places of any encoder."""
