"""Models of counts: their densities, and their exact posteriors if they are conjugate."""
