"""Exact rewrites of SVD's networks: the same numbers, sooner."""
