"""`python -m psg migrate` (the default) or `python -m psg downgrade REVISION`."""

import argparse

from psg import migrate
from psg.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m psg", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("migrate", help="create the roles and bring the schema up to date")
    commands.add_parser("downgrade", help="downgrade the schema").add_argument("revision")
    arguments = parser.parse_args()
    settings = Settings()
    engine = migrate.engine_for(settings)
    migrate.wait_until_up(engine)
    if arguments.command == "downgrade":
        migrate.downgrade(engine, arguments.revision)
    else:
        migrate.upgrade(engine, settings)


if __name__ == "__main__":
    main()
