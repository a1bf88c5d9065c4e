"""Files in, files out: many pictures through one model, replays, side-by-sides."""
