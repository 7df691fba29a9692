"""Diffusion models: a name -> a frozen unconditional DDPM, and what energylens asks of one: R(x) and samples."""
