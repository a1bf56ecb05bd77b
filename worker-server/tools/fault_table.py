"""Prints the table "What a fault does to a task" of docs/operations.md; a test compares them."""

from worker_server.errors import Bound, FailureCode, Fault, handling_of

_MEANING = {
    Fault.CALLER: "the link leads where it must not, or the edit asks for what is not there",
    Fault.SOURCE: "the source, or what arrived from it",
    Fault.QUOTA: "the account's quota",
    Fault.SHARE: "the share",
    Fault.MACHINE: "a worker's machine",
    Fault.INTERNAL: "the system itself",
}
# Rows whose list of codes grows with each release: what the table prints instead of the codes.
_NAMES = {
    (Fault.CALLER, Bound.FIRST): "`url_…`, `too_many_redirects`, `edit_…`, `brand_gone`",
    (Fault.SOURCE, Bound.FIRST): "all others",
}
# What `/ready` says while work waits for operators.
_READY = {
    Fault.SHARE: "`share` or `share_space` fails",
    Fault.INTERNAL: "`faults` fails",
}


def document() -> str:
    """Return the table in Markdown: one row for each fault and each end of its attempts."""
    groups: dict[tuple[Fault, Bound], list[str]] = {}
    for code in FailureCode:
        handling = handling_of(code)
        groups.setdefault((handling.fault, handling.bound), []).append(code)
    header = "| whose fault | codes | the work fails | meanwhile the task says | `/ready` says |"
    rows = [_row(fault, bound, codes) for (fault, bound), codes in groups.items()]
    return "\n".join([header, "|---|---|---|---|---|", *rows, ""])


def _row(fault: Fault, bound: Bound, codes: list[str]) -> str:
    names = _NAMES.get((fault, bound)) or ", ".join(f"`{code}`" for code in codes)
    waits = "nothing" if bound is Bound.FIRST else "`waiting_for` with the code"
    ready = _READY[fault] if bound is Bound.NEVER else "nothing"
    return f"| {_MEANING[fault]} | {names} | {bound} | {waits} | {ready} |"


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 # its output is the table
