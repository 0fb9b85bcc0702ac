"""Runs: typed recipes, the two training stages, plans, logs and resuming."""
