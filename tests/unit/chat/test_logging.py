"""What the log says of a turn: one line at its end, and one for each failed call."""

from structlog.testing import capture_logs

from parley.chat.errors import ProviderFault
from tests.unit.chat.support import bench


async def test_failed_call_tells_why() -> None:
    with capture_logs() as lines:
        async with bench() as b:
            turn = await b.submit()
            error = ProviderFault("Out of memory.", provider="scripted", upstream_status=500)
            (await b.provider.call()).fail(error)
            await b.folded(turn)
    call, end = lines
    assert call["log_level"] == end["log_level"] == "warning"
    told = [call[name] for name in ("provider", "model", "error", "upstream_status", "reason")]
    assert told == ["scripted", "one", "ProviderFault", 500, "Out of memory."]
    assert call["model_id"] == end["model"]
    assert (end["outcome"], end["error"]) == ("failed", "provider_unavailable")


async def test_answer_is_one_line() -> None:
    with capture_logs() as lines:
        async with bench() as b:
            turn = await b.submit("PRIVATE QUESTION")
            (await b.provider.call()).finish("PRIVATE ANSWER")
            await b.folded(turn)
    (end,) = lines
    assert (end["log_level"], end["outcome"]) == ("info", "completed")
    assert "PRIVATE" not in str(end)
