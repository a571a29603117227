"""Comparing masks: with one another, with chance, in figures."""
