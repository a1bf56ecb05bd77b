"""What the commands of `idrl` share."""

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from idrl_client import output
from idrl_client.client import Client
from idrl_client.errors import IdrlError
from idrl_client.login import load

json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")


_EMPTY = "it is empty, as of a variable that is not set; leave the option out for the default."


class NotEmpty(click.types.StringParamType):
    """A text that is not empty."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text that was typed."""
        text = str(super().convert(value, param, ctx))
        if not text.strip():
            self.fail(_EMPTY, param, ctx)
        return text


class LocalPath(click.Path):
    """A path that is not empty, which Path takes for the current folder."""

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return the path that was typed."""
        if not os.fspath(value):
            self.fail(_EMPTY, param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class FiniteRange(click.FloatRange):
    """A range without nan, which is not smaller than any bound and not larger either."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number that was typed."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def make_client(patience_s: float | None = None) -> Client:
    """Return the client of the log-in."""
    login = load(os.environ)
    return Client(login.url, login.key, **({"patience_s": patience_s} if patience_s else {}))


def call_each(
    call: Callable[[str], Mapping[str, Any]], names: Sequence[str], *, is_json: bool
) -> None:
    """Call for every name, even after one fails, and exit with the highest exit code."""
    code, answers = 0, []
    for name in names:
        try:
            answer = call(name)
        except IdrlError as fault:
            output.error(fault, is_json=is_json, about=name)
            code = max(code, fault.exit_code)
            continue
        answers.append(answer)
        if not is_json:
            print(f"{name}  {answer['status']}")
    if is_json:
        output.as_json(answers)
    sys.exit(code)
