"""Stand-ins for what Parley talks to, each proved by tests of its own."""
