"""Who is calling: guests, keys, callers."""
