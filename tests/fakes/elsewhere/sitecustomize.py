"""For a Parley under test: some hosts of the internet are on this machine, as in /etc/hosts.

Python imports this at its start where the directory is on PYTHONPATH. HOSTS_HERE is
``name=port`` and more of them, with commas between.
"""

import os
import socket
import sys

# It looks names up by itself.
sys.modules["uvloop"] = None  # type: ignore[assignment]  # so that its import fails
_HERE = dict(pair.split("=") for pair in os.environ["HOSTS_HERE"].split(","))
_getaddrinfo = socket.getaddrinfo


def _found(host, port, *args, **more):  # type: ignore[no-untyped-def]  # as the one that it wraps
    name = host.decode() if isinstance(host, bytes) else host
    if name in _HERE:
        host, port = "127.0.0.1", int(_HERE[name])
    return _getaddrinfo(host, port, *args, **more)


socket.getaddrinfo = _found
