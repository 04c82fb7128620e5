"""Named data sets, one file each; what a file declares as `DATASET` is found by listing this folder."""
