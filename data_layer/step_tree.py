"""Step tree: the order in which the page wants steps.

It adds them one by one, and drops without a word one whose parent is not there yet. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain

from chainlit.step import StepDict


def parents_first(steps: list[StepDict]) -> list[StepDict]:
    """Order steps, given in their time: each after its parent, none without it.

    A step whose parent is not among them, or is below itself, becomes one without a parent.
    """
    there = {step["id"] for step in steps}
    roots: list[StepDict] = []
    below: defaultdict[str, list[StepDict]] = defaultdict(list)
    for step in steps:
        parent_id = step["parentId"]
        if parent_id is None or parent_id not in there:
            step["parentId"] = None
            roots.append(step)
        else:
            below[parent_id].append(step)
    ordered: dict[str, StepDict] = {}
    for root in chain(roots, steps):
        if root["id"] not in ordered:
            root["parentId"] = None  # one of a circle, where it is not one of the roots
            _add(root, below, ordered)
    return list(ordered.values())


def last_messages(steps: list[StepDict], most: int, types: Iterable[str]) -> list[StepDict]:
    """Cut a thread in its time before the last `most` steps of these types."""
    left = most
    for place in range(len(steps) - 1, -1, -1):
        left -= steps[place]["type"] in types
        if not left:
            return steps[place:]
    return steps


def _add(
    root: StepDict, below: defaultdict[str, list[StepDict]], ordered: dict[str, StepDict]
) -> None:
    waiting = [root]
    while waiting:
        step = waiting.pop()
        if step["id"] not in ordered:
            ordered[step["id"]] = step
            waiting.extend(reversed(below.get(step["id"], ())))
