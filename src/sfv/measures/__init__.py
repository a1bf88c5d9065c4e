"""How clips differ, as pure functions: distances, seams, drifts, corruptions to try them on. Knows no model family."""
