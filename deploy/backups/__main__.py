"""`deploy/backup` and `deploy/restore FOLDER`.

Exit status 0: complete. 1: nothing was done. 3: done, but files are missing.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from deploy.backups.backup import back_up
from deploy.backups.failures import Failed
from deploy.backups.restore import restore
from deploy.backups.settings import Settings

_INCOMPLETE = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backup", help="save database and share below BACKUP_FOLDER")
    commands.add_parser("restore", help="restore one backup").add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, _end)
    try:
        settings = Settings.from_environment(os.environ)
        complete = (
            back_up(settings)
            if arguments.command == "backup"
            else restore(settings, arguments.folder)
        )
    except Failed as failure:
        print(f"{failure.code}: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"file_error: {error}", file=sys.stderr)
        return 1
    return 0 if complete else _INCOMPLETE


def _end(number: int, _: object) -> None:
    """End as after a failure: what was begun is undone, also when the terminal is lost."""
    sys.exit(f"interrupted: {signal.Signals(number).name}")


if __name__ == "__main__":
    sys.exit(main())
