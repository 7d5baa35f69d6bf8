"""Account: who is here, how they come in, and what is theirs."""
