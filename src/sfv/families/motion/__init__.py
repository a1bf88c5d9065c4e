"""Models of whole loops whose latents hold what changes from the picture."""
