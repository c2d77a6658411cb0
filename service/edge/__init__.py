"""HTTP in: doors, limits, answers."""
