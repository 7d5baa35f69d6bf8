"""What is happening right now? The events of running turns, for any number of readers."""
