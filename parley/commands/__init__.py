"""The commands beside `serve`, one module for each thing that they work on."""
