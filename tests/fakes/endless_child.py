"""A child process that reads nothing and never ends; it writes without end, or (``quiet``) nothing."""

import signal
import sys

if __name__ == "__main__":
    while "quiet" not in sys.argv:
        sys.stdout.buffer.write(bytes(2**20))
    signal.pause()
