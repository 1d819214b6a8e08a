"""Failures that the person at the command line can act on; scripts print them as one line."""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class RunError(Exception):
    """A run cannot start or go on, for a reason that its message says in one line."""


class ConfigError(RunError, ValueError):
    """A configuration with a field that does not exist or a value that cannot be."""


class CheckpointError(RunError):
    """A workdir or a checkpoint that cannot be used."""


class UnknownNameError(RunError, LookupError):
    """A name of a row or a column that does not exist; its message tells the nearest."""


class AmbiguousNameError(RunError, LookupError):
    """A name that several rows or columns have; its message tells how many."""


class NonFiniteError(RunError, ArithmeticError):
    """NaN or infinity in a run; names the step and the leaf."""


class LostProcessError(RunError):
    """One of several processes has died or does not answer; the others cannot go on without it."""


class Interrupted(RunError):  # noqa: N818 - not an error of anybody
    """A run was asked to stop by a signal, and stopped where it can be resumed.

    Attributes:
      signum: the signal; the exit status is 128 + signum.
    """

    def __init__(self, message: str, signum: int):
        """Keeps the signal beside the message."""
        super().__init__(message)
        self.signum = signum
