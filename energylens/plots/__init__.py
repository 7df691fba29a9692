"""How a figure of ours looks and is kept."""
