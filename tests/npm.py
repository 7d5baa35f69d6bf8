"""Packages of npm that tests need, installed when they are missing."""

import subprocess
from pathlib import Path

from filelock import FileLock

INSTALL_TIMEOUT_S = 300


def npm_packages(directory: Path) -> Path:
    """Install what the lock file in `directory` has, once, and give the folder of the packages."""
    with FileLock(directory / ".install.lock"):
        packages = directory / "node_modules"
        # npm writes this last.
        if not (packages / ".package-lock.json").is_file():
            command = ["npm", "ci", "--no-audit", "--no-fund"]
            subprocess.run(
                command, cwd=directory, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S
            )
    return packages
