"""``python -m parley``: the same as the ``parley`` command."""

import gc

# What is imported stays: to look for garbage meanwhile costs a fifth of a start (see parley/cli.py).
gc.disable()

from parley.cli import main  # noqa: E402

gc.enable()
main()
