"""Our own experiment beside section 4: SCAN with a transformer in place of the LSTM."""
