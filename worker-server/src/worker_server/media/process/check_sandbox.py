"""Prints the level of the sandbox: `python -m worker_server.media.process.check_sandbox`.

It also names what the sandbox lets through and what it refuses to decoders that need it, and exits
with 1 where it does not hold.
"""

import sys

from worker_server.media.process.sandbox import NEEDED, measure_sandbox


def main() -> int:
    report = measure_sandbox()
    sys.stdout.write(f"sandbox: {report.level}\n")
    for name in (*report.missing, *report.escapes):
        sys.stdout.write(f"{'refused' if name in NEEDED else 'not refused'}: {name}\n")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
