"""Outputs of chapters beyond figures: tables, views of figures, controls."""
