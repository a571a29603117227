"""A Slurm cluster of two nodes on this machine, and the grid of runs on it: ``make test-cluster``."""
