"""What the logs say, to the letter."""
