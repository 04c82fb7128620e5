"""Respects in which the pictures of a run are compared: learned from columns of a table, kept beside its index."""
