"""Tries what a paper claims: arms, tuning, trials, learning curves, verdicts and their rows."""
