"""What the operators' commands of both apps share."""

from typing import Any

import click
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from idrl_common.database import is_outage, is_read_only


class DatabaseCommands(AppGroup):
    """Says in a sentence that the database is unavailable."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 # click's own signature
        try:
            return super().invoke(ctx)
        except DBAPIError as error:
            if is_outage(error):
                raise click.ClickException(_message_of(error)) from error
            raise


def _message_of(error: DBAPIError) -> str:
    if is_read_only(error):
        return "The database takes no writes: a standby, or its disk is full."
    return "The database does not answer."
