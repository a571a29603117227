"""The paper's networks, as plain torch modules that know nothing of masks."""
