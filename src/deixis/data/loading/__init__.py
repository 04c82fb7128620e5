"""From samples to batches: the order of samples, crops, collation, reading ahead."""
