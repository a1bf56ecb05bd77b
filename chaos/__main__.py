"""`python -m chaos`: inject faults into a system under load; the last line is JSON.

The exit code is 0 only if the audit finds nothing.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from chaos import runner, target
from chaos.faults import KINDS, Fault
from chaos.history import History


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that everything is recovered
    _print(f"seed {arguments.seed}, {arguments.minutes:g} minutes")
    with target.running() as system:
        kinds = _available(system, arguments.kinds)
        if not kinds:
            _print("none of these faults can be injected on this machine")
            return 1
        outcome = runner.run(
            system, kinds, minutes=arguments.minutes, seed=arguments.seed, write_line=_print
        )
        for line in outcome.findings.lines():
            _print(line)
        if not outcome.is_clean:
            _print(f"the logs are kept in {keep_logs(system, outcome.history)}")
    _print(json.dumps(runner.summary(outcome)))
    _print(outcome.to_json())
    return 0 if outcome.is_clean else 1


def keep_logs(system: target.Target, history: History) -> Path:
    """Copy the logs and the callers' history to a folder, and return it."""
    folder = Path(tempfile.mkdtemp(prefix="idrl-chaos-logs-"))
    shutil.copytree(system.home.logs, folder / "logs")
    with (folder / "history.jsonl").open("w") as file:
        for call in history.calls:
            file.write(json.dumps(asdict(call)) + "\n")
    return folder


def _available(system: target.Target, names: list[str] | None) -> list[Fault]:
    kinds = [kind for kind in KINDS if not names or kind.name in names]
    for kind in kinds:
        if reason := kind.unavailable(system):
            _print(f"{kind.name} skipped: {reason}")
    return [kind for kind in kinds if not kind.unavailable(system)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices")
    names = [kind.name for kind in KINDS]
    parser.add_argument("--kinds", nargs="*", choices=names, help="inject only these")
    return parser.parse_args()


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
