"""Training: one loop for every method, regulariser and schedule of the tables, and the early warning of overfitting."""
