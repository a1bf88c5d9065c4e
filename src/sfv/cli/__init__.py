"""The command line: flags, exit codes, one class for each command."""
