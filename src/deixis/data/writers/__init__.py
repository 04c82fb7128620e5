"""Writes samples in forms that many programs read."""
