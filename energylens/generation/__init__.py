"""Images out of robust classifiers: starts, the sampler that lowers their energy, and scores of what came out."""
