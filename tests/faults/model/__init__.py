"""A model test: the daemon under a random life, beside a reference of what must come of it."""
