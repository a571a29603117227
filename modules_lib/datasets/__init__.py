"""Data sets: made on the device, or found, downloaded and checked."""
