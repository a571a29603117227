"""Plotly figures, one function a figure of the paper. Each takes results and returns a ``go.Figure``."""
