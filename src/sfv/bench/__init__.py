"""`sfv bench`: seconds, memory and arithmetic from file to file, peers beside us in one process."""
