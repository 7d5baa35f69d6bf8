"""What happened? Logs and metrics; imported by everything, imports nothing of Parley's."""
