"""Latents and the picture -> pixels, quicker than a codec's own decoder. Knows no family."""
