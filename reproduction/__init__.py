"""The paper, made with the library: its experiments, runs, claims, figures and chapters."""
