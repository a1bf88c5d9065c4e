"""Whose weights: the only importer of diffusers and transformers."""
