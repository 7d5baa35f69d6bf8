"""OpenAI's dialect, spoken to clients."""
