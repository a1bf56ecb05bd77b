"""The web app: accounts, tokens, and the gateway to the tasks service."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def create_app() -> "Flask":
    """Return the app as the environment sets it up, for `flask --app web_server`."""
    from web_server.app import create_app as create  # only the command line needs it
    from web_server.settings import Settings

    return create(Settings())
