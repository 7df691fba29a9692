"""The tests; a package so that `python -m tests.mutations` finds its own folder, not one that a library left behind."""
