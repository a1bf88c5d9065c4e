"""The page on this machine: drop a picture, see it move."""
