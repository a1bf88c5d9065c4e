"""What a training step reports: figures by name."""

Logs = dict[str, float]
