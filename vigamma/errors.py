"""Errors that the user can act on; scripts print them as one line."""


def first_line(error: Exception) -> str:
    """The first line of the message of an error, or the name of its class if it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class RunError(Exception):
    """A run cannot start or continue; the message gives the reason in one line."""


class ConfigError(RunError, ValueError):
    """A configuration with an unknown field or an invalid value."""


class CheckpointError(RunError):
    """A workdir or a checkpoint that cannot be used."""


class UnknownNameError(RunError, LookupError):
    """A row or column name that does not exist; the message lists the most similar names."""


class AmbiguousNameError(RunError, LookupError):
    """A name that several rows or columns share; the message gives their number."""


class NonFiniteError(RunError, ArithmeticError):
    """NaN or infinity in a run; the message names the step and the leaf."""


class LostProcessError(RunError):
    """One of several processes died or does not respond, so that the others cannot continue."""


class Interrupted(RunError):  # noqa: N818 - a requested stop, not an error
    """A signal stopped a run at a point from which it can be resumed.

    Attributes:
      signum: the signal; the exit status is 128 + signum.
    """

    def __init__(self, message: str, signum: int):
        """Stores the signal with the message."""
        super().__init__(message)
        self.signum = signum
