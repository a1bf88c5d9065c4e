"""Many processes, many machines. The only importer of Ray; everything else is done by the packages that it imports."""
