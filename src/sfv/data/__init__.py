"""Where training clips come from. Knows files and frames; does not know objectives."""
