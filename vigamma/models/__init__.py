"""Models of counts: their densities, and their exact posteriors where they have them."""
