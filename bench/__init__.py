"""Races against peers: `python -m bench.NAME` runs one and appends its rows to results/bench.jsonl."""
