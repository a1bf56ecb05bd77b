"""Prints docs/state-machine.md from the statuses; a test compares them."""

from worker_server.models.statuses import PART_TRANSITIONS, TASK_TRANSITIONS, Transition

_HEAD = """# State machine

Generated from `worker_server/models/statuses.py` by `make state-machine`; a test holds this page to
it. Every change of status is one guarded `UPDATE` in `worker_server/queue`: it names the status it
starts from, and a worker's names the attempt of its lease.
"""


def document() -> str:
    """Return docs/state-machine.md."""
    tables = (("Tasks", TASK_TRANSITIONS), ("Parts", PART_TRANSITIONS))
    return _HEAD + "".join(_section(title, transitions) for title, transitions in tables)


def _section(title: str, transitions: tuple[Transition, ...]) -> str:
    edges = dict.fromkeys((each.source or "[*]", each.target) for each in transitions)
    diagram = [f"    {source} --> {target}" for source, target in edges]
    rows = [
        f"| {each.source or '(none)'} | {each.target} | {each.by} | {each.when} |"
        for each in transitions
    ]
    lines = ["", f"## {title}", "", "```mermaid", "stateDiagram-v2", *diagram, "```", ""]
    return "\n".join([*lines, "| from | to | who | when |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 # its output is the page
