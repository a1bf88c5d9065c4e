"""What a noise level means. Knows torch; does not know families, frames per second, or files."""
