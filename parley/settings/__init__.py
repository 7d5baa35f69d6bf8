"""Settings: the environment and `.env` become frozen config objects; nobody else reads them."""
