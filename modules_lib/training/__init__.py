"""Training weights and masks."""
