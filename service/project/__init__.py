"""Turn the log into facts and rollups, exactly once."""
