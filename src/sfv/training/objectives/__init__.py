"""One file for each objective: what a network learns, and from what."""
