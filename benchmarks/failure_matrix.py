"""The failure matrix: who survives what, the official SDKs and ours against one fake server.

Every case of `examples/failure-matrix.toml` is put to every client, with a timeout of 1.5 s where
the client has one. A cell says:

- ``ok``: the whole answer, or an error of the client's own classes where there is one to tell
- ``wrong``: it ended as if all were well, and was not
- ``hangs``: it had not ended after the guard
- a name: an exception that is not the client's own (its JSON parser's, its HTTP library's)
- ``-``: the case does not exist in its dialect
"""

import asyncio
import logging
import warnings
from collections.abc import Iterable, Sequence
from time import perf_counter

from benchmarks.failure_clients import CLIENTS, Ask, Client, Heard
from benchmarks.table import Row, progress
from parley.fake_server.exchange import listening
from parley.fake_server.script import read_script
from parley.fake_server.server import ScriptedServer
from parley.observability.logs import LogConfig, configure_logs
from tests.fakes.failure_matrix import ALSO, FAILED, MATRIX, OPENAI_ONLY, SILENT, WELL

_GUARD_S = 6.0
_AT_ONCE = 6
_STOP = "task cancelled: the socket is closed"
_STOP_S = 0.25
_FINISHES = {"STOP": "stop", "eos_token": "stop", "stop_sequence": "stop", "MAX_TOKENS": "length"}


def failure_rows() -> list[Row]:
    """Put every case to every client; prints the matrix, gives a row for each client."""
    # What clients warn of and log while they fail is not the table.
    logging.disable(logging.CRITICAL)
    configure_logs(LogConfig("CRITICAL", "json"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns = [asyncio.run(_column(client)) for client in CLIENTS]
    logging.disable(logging.NOTSET)
    _print_matrix(columns)
    return list(_summary(columns))


async def _column(client: Client) -> dict[str, str]:
    """What one client makes of the cases, all at once."""
    progress(f"failure matrix, {client.name}")
    loop = asyncio.get_running_loop()
    # Generators that a client leaves open are told of when they are collected.
    loop.set_exception_handler(lambda *_: None)
    server = ScriptedServer(read_script(MATRIX))
    cases = [case for case in _cases() if _is_for(client, case)]
    places = asyncio.Semaphore(_AT_ONCE)

    async def cell(case: str) -> str:
        async with places:
            return await _cell(client, asks, case)

    async with listening(server), client.opens(server.root) as asks:
        # What is imported and opened at the first request is no fault of its case.
        await asks("hello", Heard())
        cells = await asyncio.gather(*map(cell, cases))
        stopped = await _stopped(server, asks)
    return {**dict(zip(cases, cells, strict=True)), _STOP: stopped}


def _is_for(client: Client, case: str) -> bool:
    if case == "too large an event":
        return client.ours  # without a limit of its own a client may read it
    return client.chats or case not in OPENAI_ONLY


async def _stopped(server: ScriptedServer, asks: Ask) -> str:
    """How long after its task was cancelled a client has left the server."""
    heard = Heard()
    server.left.clear()
    asking = asyncio.ensure_future(asks("hang in the middle", heard))
    await asyncio.wait(
        [asking, asyncio.ensure_future(heard.begun.wait())], return_when="FIRST_COMPLETED"
    )
    began = perf_counter()
    asking.cancel()
    try:
        async with asyncio.timeout(1):
            await server.left.wait()
    except TimeoutError:
        return "stays"
    finally:
        await asyncio.wait([asking], timeout=1)
    return "ok" if perf_counter() - began <= _STOP_S else "late"


def _cases() -> list[str]:
    return [*WELL, *sorted(ALSO), *FAILED, *SILENT]


async def _cell(client: Client, asks: Ask, case: str) -> str:
    heard = Heard()
    asking = asyncio.ensure_future(asks(case, heard))
    done, _ = await asyncio.wait([asking], timeout=_GUARD_S)
    if not done:
        asking.cancel()
        await asyncio.wait([asking], timeout=1)
        return "hangs"
    heard.error = asking.exception()
    return _verdict(client, case, heard)


def _verdict(client: Client, case: str, heard: Heard) -> str:
    if heard.error is not None:
        return _of_error(client, case, heard.error)
    return "ok" if _whole(case, heard) else "wrong"


def _of_error(client: Client, case: str, error: BaseException) -> str:
    expected = client.expects.get(case) or FAILED.get(case)
    if case in SILENT:
        told = isinstance(error, TimeoutError) or type(error).__module__.startswith(client.errors)
    elif client.ours:
        told = expected is not None and type(error) is expected
    else:
        told = expected is not None and type(error).__module__.startswith(client.errors)
    return "ok" if told else type(error).__name__


def _whole(case: str, heard: Heard) -> bool:
    """Whether an answer that ended well is the whole answer."""
    if case in FAILED or case in SILENT:
        return False
    text, reason = WELL.get(case, ("Hé you", None))
    if heard.text != text:
        return False
    said = _FINISHES.get(heard.finish or "", heard.finish)
    return reason is None or said in {reason.value, None if reason.value == "unknown" else reason}


def _print_matrix(columns: Sequence[dict[str, str]]) -> None:
    print(f"| case | {' | '.join(client.name for client in CLIENTS)} |")
    print("|---|" + "---|" * len(CLIENTS))
    for case in [*_cases(), _STOP]:
        cells = (column.get(case, "-") for column in columns)
        print(f"| {case} | {' | '.join(cells)} |")
    print()


def _summary(columns: Iterable[dict[str, str]]) -> Iterable[Row]:
    for client, column in zip(CLIENTS, columns, strict=True):
        right = sum(cell == "ok" for cell in column.values())
        yield Row(
            f"failure matrix, {client.name}",
            f"right in {right} of {len(column)}",
            "all" if client.ours else "",
            "",
            right == len(column) or not client.ours,
        )
