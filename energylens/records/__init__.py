"""Runs on disk: what a row is, where rows are kept, what makes two runs the same, and how runs are merged."""
