"""Runs: the page puts its buttons only under an answer that is inside of a run.

A turn is shown as one: a step around the answer, that is nowhere kept. Its id is made of the
answer's, and says which answer a rating is about.
"""

from datetime import UTC, datetime
from uuid import UUID

from chainlit.step import StepDict

# The name by which the page knows a run.
_RUN = "on_message"
# A tool's picture. By its name alone the page would ask the server for one, and say there what the tool does.
TOOL_METADATA = {"icon": "wrench"}
# What was thought is shown as a call of a tool is, folded; public/page.css takes away that it was "used".
THOUGHT_METADATA = {"icon": "lightbulb"}


def run_id_of(answer_step_id: str) -> str:
    """Name the run around an answer; of that name, again, it is the answer's."""
    return str(UUID(int=UUID(answer_step_id).int ^ 2))


def run_around(answer: StepDict, *, ended: bool) -> StepDict:
    """Make the run of an answer; while it has not ended, the page offers no buttons."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    run_id = run_id_of(answer["id"])
    run = StepDict(
        id=run_id,
        threadId=answer["threadId"],
        parentId=None,
        name=_RUN,
        type="run",
        input="",
        output="",
        isError=False,
        streaming=False,
        createdAt=answer["createdAt"],
        start=answer["start"],
        end=(answer["end"] or now) if ended else None,
        metadata={},
        showInput=False,
    )
    if feedback := answer.get("feedback"):
        run["feedback"] = {**feedback, "forId": run_id}
    return run


def is_answer(step: StepDict) -> bool:
    """Whether a step is an answer; an error is none."""
    return step["type"] == "assistant_message" and not step["isError"]


def with_runs(steps: list[StepDict]) -> list[StepDict]:
    """Put every answer into its run, with the tools before it, and what was said of it to the run."""
    shown: list[StepDict] = []
    tools: list[StepDict] = []
    for step in steps:
        if step["type"] == "tool" and step["parentId"] is None:
            tools.append(step)
            continue
        if is_answer(step) and step["parentId"] is None:
            run = run_around(step, ended=True)
            for inside in (*tools, step):
                inside["parentId"] = run["id"]
            shown.append(run)
        shown += [*tools, step]
        tools = []
    return shown + tools
