"""Normalise what arrives, write it durably in groups."""
