"""What a fitted factorization says: scores, recommendations, topics, neighbours, files."""
