"""Stable Video Diffusion (2311.15127) and every model of its architecture."""
