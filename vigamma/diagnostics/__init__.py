"""How good a fit is: on counts that it has not seen."""
