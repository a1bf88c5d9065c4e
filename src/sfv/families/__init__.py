"""Whose weights. The only importer of diffusers and transformers; knows no sampler, loop or flag."""
