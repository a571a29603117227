"""Runs: made, stored, published, read."""
