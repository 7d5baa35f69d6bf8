"""Tools: what may the model do? Search the web, read a page, and whatever a plug-in adds."""

from parley.tools.definition import Result, Tool, tool, tool_of
from parley.tools.failures import ToolFailed

__all__ = ["Result", "Tool", "ToolFailed", "tool", "tool_of"]
