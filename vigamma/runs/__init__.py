"""Runs: experiments, their fits, the training loop, and the files of a run."""
