"""Masks, and models under masks."""
