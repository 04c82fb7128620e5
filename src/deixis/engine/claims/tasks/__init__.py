"""The tasks of claims, one file each: data to train on, to tune on and to report on."""
