"""Faults planted in the trainer, to see which of them the tests notice: `python -m tests.mutations`."""
