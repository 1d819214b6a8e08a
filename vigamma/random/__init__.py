"""Random draws: `gamma` and `log_gamma`."""

from vigamma.random.draws import gamma, log_gamma

__all__ = ["gamma", "log_gamma"]
