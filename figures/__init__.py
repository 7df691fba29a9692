"""One file a figure of the papers: a tidy table -> a matplotlib Figure. Nothing here computes."""
