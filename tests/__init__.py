"""A package so that `tests` is ours: literalai, which Chainlit needs, installs another one of that name."""
