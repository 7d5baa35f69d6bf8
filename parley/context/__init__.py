"""What does the model get to see? A window of the thread, and a receipt for it."""
