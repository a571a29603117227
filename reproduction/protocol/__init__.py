"""The common ground of the paper's experiments: scales, names of stages, and the config of a run."""
