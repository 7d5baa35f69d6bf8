"""Registry: the tools of this server, which of them a turn may use, and what calls them."""

import asyncio
from collections.abc import Iterable, Sequence

from parley.chat.errors import InvalidRequest
from parley.chat.messages import storable_text
from parley.chat.models import ModelInfo, ToolSpec
from parley.chat.ports import Route
from parley.chat.tools import Source, ToolResult, unknown_tool
from parley.chat.turns import Extras, Turn
from parley.observability.logs import get_logger
from parley.tools.definition import Result, Tool, newest
from parley.tools.failures import ToolFailed

logger = get_logger(__name__)

_MOST_SOURCES = 20
# The context window, in tokens, that tools want where nobody asks for them.
_ROOMY = 8192
_CUT = "\n[Cut here: there is more.]"


class ToolRegistry:
    """The `Tools` port."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Offer these tools, each by its name."""
        self._tools = {tool.spec.name: tool for tool in tools}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools."""
        return tuple(self._tools)

    def check(self, extras: Extras, info: ModelInfo) -> None:  # noqa: D102 - see the port
        if not extras.use_tools:
            return
        unknown = [name for name in extras.use_tools if name not in self._tools]
        if unknown:
            known = ", ".join(self._tools) or "none on this server"
            raise InvalidRequest(f"There is no tool {unknown[0]!r}. There are: {known}.")
        if not info.capabilities.tools:
            raise InvalidRequest(
                f"The model {info.id} is not known to call tools. Choose one that does, or leave"
                " them out. (Whoever runs this server can say tools = true in parley.toml.)"
            )

    def offered(self, turn: Turn, route: Route) -> Sequence[ToolSpec]:
        """List the tools that this turn may use with this model.

        The model's configuration is the limit. Without a word of the request or the thread a turn
        has them all, but for one that brings along tools of its own or wants JSON, and for a model
        with so small a window that a page would not fit, unless its configuration names them.
        """
        extras, wanted, can = turn.extras, turn.extras.use_tools, route.info.capabilities
        if not can.tools:
            return ()
        is_small = route.tools is None and (can.context_window or _ROOMY) < _ROOMY
        if wanted is None and (extras.tools or extras.response_format or is_small):
            return ()
        return [
            newest(tool).spec
            for name, tool in self._tools.items()
            if (wanted is None or name in wanted) and (route.tools is None or name in route.tools)
        ]

    def action(self, name: str, arguments: str) -> str:  # noqa: D102 - see the port
        tool = self._find(name)
        return tool.says(arguments) if tool else ""

    async def run(self, name: str, arguments: str) -> ToolResult:  # noqa: D102 - see the port
        tool = self._find(name)
        if tool is None:
            return unknown_tool(self._tools)
        try:
            read = tool.read(arguments)
            async with asyncio.timeout(tool.timeout_s):
                given = await tool.call(**read)
        except ToolFailed as failed:
            return ToolResult(failed.message, failed.why)
        except TimeoutError:
            return ToolResult(f"It took longer than {tool.timeout_s:g} s.", "timeout")
        except Exception as error:  # a boundary: it is somebody's own code
            logger.exception("Tool failed", tool=name, error=type(error).__name__)
            return ToolResult(f"The tool failed inside ({type(error).__name__}).", "failed")
        return _bounded(given, tool.limit_chars)

    def _find(self, name: str) -> Tool | None:
        tool = self._tools.get(name)
        return newest(tool) if tool else None


def _bounded(given: object, limit_chars: int) -> ToolResult:
    """Make a result of what a function returned."""
    result = given if isinstance(given, Result) else Result(str(given))
    text = storable_text(result.text)
    if len(text) > limit_chars:
        text = text[:limit_chars] + _CUT
    return ToolResult(text, None, tuple(map(_clean, result.sources[:_MOST_SOURCES])))


def _clean(source: Source) -> Source:
    return Source(storable_text(source.title)[:300], storable_text(source.url)[:2000])
