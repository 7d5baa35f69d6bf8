"""One suite for each port; every implementation passes it, the fakes of the unit tests included."""
