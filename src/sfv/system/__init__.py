"""The machine: memory, files, devices, clocks. Knows no model."""
