"""Trains a method: built from its card, batch by batch, stage by stage, to a checkpoint that can be resumed."""
