"""Checks of material before anything is learned from it: what is corrupt, duplicated, leaking, missing or too long."""
