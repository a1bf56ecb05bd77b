"""Wrong log-ins, counted by account and caller, so that nobody guesses for long and no stranger locks the owner out."""

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import ColumnElement, case, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from web_server.db import db
from web_server.models import LoginFailures

_FORGOTTEN_AT_ONCE = 100


class TooManyFailures(Exception):
    """This caller got this account's password wrong too often; in `retry_after_s` the next attempt is looked at."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "Too many wrong log-ins for this account from your address; wait a little."
        )
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Limit:
    """At most `failures` wrong log-ins within `window_s` seconds."""

    failures: int
    window_s: float


@dataclass(frozen=True)
class Attempt:
    """One caller at one account's door."""

    account: str
    client: str

    @classmethod
    def of(cls, email: str, address: str) -> "Attempt":
        """Return the attempt; a caller with IPv6 is its network, since it has as many addresses as it wants."""
        client = ip_address(address)
        name = (
            str(ip_network((client, 64), strict=False))
            if isinstance(client, IPv6Address)
            else str(client)
        )
        return cls(hashlib.sha256(email.lower().encode()).hexdigest(), name)

    def check(self, limit: Limit) -> None:
        """Raise TooManyFailures when there were too many of them."""
        wait_s = func.extract("epoch", LoginFailures.first_at - _begin(limit))
        many = (
            *self._mine(),
            LoginFailures.failures >= limit.failures,
            LoginFailures.first_at > _begin(limit),
        )
        with db.session.begin():
            left_s = db.session.scalar(select(wait_s).where(*many))
        if left_s is not None:
            raise TooManyFailures(math.ceil(left_s))

    def failed(self, limit: Limit) -> None:
        """Count one more, or begin anew where the window has passed; forget what nobody asks for any more."""
        over = LoginFailures.first_at <= _begin(limit)
        count = case((over, 1), else_=LoginFailures.failures + 1)
        first_at = case((over, func.now()), else_=LoginFailures.first_at)
        row = insert(LoginFailures).values(account=self.account, client=self.client, failures=1)
        keys = (LoginFailures.account, LoginFailures.client)
        names = ["account", "client"]
        with db.session.begin():
            db.session.execute(
                row.on_conflict_do_update(
                    index_elements=names, set_={"failures": count, "first_at": first_at}
                )
            )
            old = (
                select(*keys)
                .where(over)
                .limit(_FORGOTTEN_AT_ONCE)
                .with_for_update(skip_locked=True)
            )
            db.session.execute(delete(LoginFailures).where(tuple_(*keys).in_(old)))

    def succeeded(self) -> None:
        """Forget what went wrong before."""
        with db.session.begin():
            db.session.execute(delete(LoginFailures).where(*self._mine()))

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return (LoginFailures.account == self.account, LoginFailures.client == self.client)


def _begin(limit: Limit) -> ColumnElement[datetime]:
    """Return when the window begins that ends now, by the database's clock."""
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, limit.window_s)
