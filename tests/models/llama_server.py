"""llama.cpp's own server on loopback, for tests that need a real model server.

In process, `with llama_server(model) as base_url:`; in a process of its own, `with llama_process(model) as base_url:`
(at once gone when the block ends, also in the middle of a stream). Or from a shell:

    python -m tests.models.llama_server MODEL [--api-key KEY] [--tokens N]
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]  # a Cython module without stubs

ROOT = Path(__file__).parents[2]
ALIAS = "tiny"
ANSWER_TOKENS = 256


@contextmanager
def llama_server(
    model: Path, api_key: str | None = None, answer_tokens: int = ANSWER_TOKENS
) -> Iterator[str]:
    """Serve `model` as "tiny" from threads of this process; gives "http://127.0.0.1:PORT/v1".

    Deterministic: the same prompt gets the same answer while no other request runs. `answer_tokens` bounds what a
    request without `max_tokens` gets. Without an `api_key` the server takes any.
    """
    server = xllamacpp.Server(_parameters(model, api_key, answer_tokens))
    try:
        yield f"{server.listening_address}/v1"
    finally:
        del server  # its destructor stops the server and joins the threads


def _parameters(model: Path, api_key: str | None, answer_tokens: int) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = {ALIAS}
    parameters.api_keys = [api_key] if api_key else []
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_predict = answer_tokens
    parameters.n_parallel = 4
    parameters.kv_unified = True  # each of the four requests may use the whole context
    parameters.n_threads_http = 8
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.sampling.seed = 1
    parameters.cache_ram_mib = 0
    parameters.sse_ping_interval = 1  # stopping waits as long for a stream that is under way (30 s)
    parameters.warmup = False
    parameters.ui = False
    parameters.verbosity = -1
    return parameters


@contextmanager
def llama_process(
    model: Path, api_key: str | None = None, answer_tokens: int = ANSWER_TOKENS
) -> Iterator[str]:
    """Serve `model` as `llama_server` does, from a child process that is killed when the block ends.

    The child also ends when its standard input closes, and so with its parent, however that one dies.
    """
    command = [sys.executable, "-m", __name__, str(model), "--tokens", str(answer_tokens)]
    command += ["--api-key", api_key] if api_key else []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            base_url = process.stdout.readline().strip()
            if not base_url:
                raise RuntimeError(f"llama.cpp did not start, exit code {process.wait()}")
            yield base_url
        finally:
            process.kill()  # there is nothing to save


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a GGUF file until standard input closes.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--api-key")
    parser.add_argument("--tokens", type=int, default=ANSWER_TOKENS)
    options = parser.parse_args()
    with llama_server(options.model, options.api_key, options.tokens) as base_url:
        sys.stdout.write(f"{base_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
