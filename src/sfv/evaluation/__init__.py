"""How good, how fast. Knows generation and pixels; does not know how anything was trained."""
