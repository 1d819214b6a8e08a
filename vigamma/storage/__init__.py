"""Storage: atomic files, checkpoints, and the directory of a run."""
