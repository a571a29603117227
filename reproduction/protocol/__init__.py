"""What all experiments of the paper have in common: scales, names of stages, and the config of a run."""
