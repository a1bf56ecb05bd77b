"""`python -m bench`: run the comparisons, print their tables, write their figures to a file."""

import argparse
import datetime
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from bench.registry import NAMES, Options, benchmark
from bench.report import missed_goals, write


def main() -> None:
    arguments = _arguments()
    # SystemExit unwinds the stack, so that child processes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    options = Options(arguments.video, arguments.rounds, arguments.quick)
    reports = {}
    for name in arguments.only or NAMES:
        begin = time.monotonic()
        reports[name] = benchmark(name)(options)
        print(f"== {name} ==\n\n{reports[name].text()}", flush=True)
        # After each comparison: the next one may take hours, or fail.
        path = write(reports, options.results, _file_name(arguments.only))
        print(f"{(time.monotonic() - begin) / 60:.0f} min; written to {path}", flush=True)
    print(f"\n{missed_goals(reports)}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=NAMES, help="run only these")
    parser.add_argument(
        "--video", type=Path, help="measure with this video instead of the built-in sources"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each method")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sources: shows that everything runs, and no more"
    )
    arguments = parser.parse_args()
    if find_spec("matplotlib") is None:  # checked now, not after an hour of measuring
        parser.error("matplotlib is not installed; `make bench` installs it")
    if arguments.video and not arguments.video.is_file():
        parser.error(f"there is no file {arguments.video}")
    return arguments


def _file_name(only: list[str] | None) -> str:
    """A run of some comparisons does not replace a run of all."""
    return "-".join([str(datetime.datetime.now(datetime.UTC).date()), *(only or [])])


if __name__ == "__main__":
    main()
