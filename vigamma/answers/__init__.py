"""Uses of a fitted factorization: scores, recommendations, topics, similar items, files."""
