"""Classes learned from a few labelled images, as an estimator and as a run."""
