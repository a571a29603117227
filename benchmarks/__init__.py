"""Speed, measured against a plain version of the same step. Nothing in the library depends on this."""
