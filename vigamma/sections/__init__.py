"""The sections of a report: each takes the results of a run, and returns HTML."""
