from vigamma.random.gamma import gamma, log_gamma

__all__ = ["gamma", "log_gamma"]
