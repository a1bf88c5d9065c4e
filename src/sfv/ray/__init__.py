"""Many processes, many machines. The only importer of Ray; makes nothing that the floors below do not."""
