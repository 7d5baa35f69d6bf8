"""The program that `providers.local` runs: llama.cpp's own server on loopback, for its parent alone.

Reads one line of JSON, its `ChildOptions`, from standard input; prints its address once the model
is loaded, or ends with llama.cpp's reasons on standard error. Ends when standard input closes, and
so with its parent, however that one dies.

Run as a file, so that it costs neither the time nor the memory of Parley's own modules.
"""

import json
import os
import sys
from typing import TypedDict

import xllamacpp  # type: ignore[import-untyped]  # a Cython module without stubs

_ERRORS_ONLY = 1


class ChildOptions(TypedDict):
    """What to serve: `context_tokens` is for each of `parallel` answers."""

    path: str
    alias: str
    api_key: str
    threads: int
    context_tokens: int
    parallel: int


def main() -> None:
    """Serve until standard input closes."""
    options: ChildOptions = json.loads(sys.stdin.readline())
    try:
        server = xllamacpp.Server(_parameters(options))
    except RuntimeError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # nobody reads it from here on
    sys.stdin.read()
    os._exit(0)  # there is nothing to save, and its destructor waits for answers under way


def _parameters(options: ChildOptions) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options["path"]
    parameters.model_alias = {options["alias"]}
    parameters.api_keys = [options["api_key"]]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = options["parallel"]
    parameters.n_ctx = options["context_tokens"] * options["parallel"]
    # A whole machine's cores in spin barriers make each other, and Parley, wait.
    parameters.cpuparams.n_threads = options["threads"]
    parameters.cpuparams_batch.n_threads = options["threads"]
    parameters.n_threads_http = options["parallel"] + 4  # answers, and the counting of tokens
    parameters.cache_ram_mib = 0
    parameters.sse_ping_interval = 1
    parameters.ui = False
    parameters.offline = True
    parameters.verbosity = _ERRORS_ONLY
    return parameters


if __name__ == "__main__":
    main()
