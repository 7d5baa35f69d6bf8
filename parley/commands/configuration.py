"""The configuration as commands read it: one that cannot be used ends them."""

import sys

import typer

from parley.settings.build import Config, load_config
from parley.settings.problems import EXIT_CODE, ConfigurationError


def read_config() -> Config:
    """Read the configuration; one that cannot be used is said, and ends the command."""
    try:
        return load_config()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(EXIT_CODE) from None
