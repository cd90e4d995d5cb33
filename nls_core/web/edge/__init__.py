"""Around every request: who may ask, how much is read, and how errors are answered."""
