"""Limits how often a password can be guessed, without locking the owner of an account out.

Two counts, both kept in `login_failures`:

- per account and client address: failed log-ins within a window. Attempts from an address that has
  never logged in to the account are counted before the password is checked. Those from a known
  address are counted after the check, in the statement that decides whether the caller learns its
  result: parallel guesses learn no more than the limit, and parallel log-ins with the right
  password use none of it.
- per account, over all such addresses together (`client` is `*`): a token bucket in the form of the
  generic cell rate algorithm, whose theoretical arrival time is `first_at`. An address that has
  logged in to the account before is exempt.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import text

from web_server.db import db, transaction

_ALL_UNKNOWN = "*"

_COUNT = text("""
    INSERT INTO login_failures AS counted (account, client, failures) VALUES (:account, :client, 1)
    ON CONFLICT (account, client) DO UPDATE SET
        failures = CASE WHEN counted.first_at <= now() - :window THEN 0 ELSE counted.failures END
            + CASE WHEN counted.succeeded_at IS NULL THEN 1 ELSE 0 END,
        first_at = CASE
            WHEN counted.first_at <= now() - :window THEN now() ELSE counted.first_at
        END
    RETURNING failures, succeeded_at IS NOT NULL AS is_known,
        extract(epoch FROM first_at + :window - now())::float8 AS left_s
""")
_COUNT_UNKNOWN = text("""
    INSERT INTO login_failures AS counted (account, client, failures, first_at)
    VALUES (:account, :client, 0, now() + :interval)
    ON CONFLICT (account, client) DO UPDATE
        SET first_at = greatest(counted.first_at, now()) + :interval
    WHERE counted.first_at <= now() + :window - :interval
    RETURNING 1
""")
_RECORD_FAILURE = text("""
    UPDATE login_failures SET
        failures = CASE WHEN first_at <= now() - :window THEN 0 ELSE failures END + 1,
        first_at = CASE WHEN first_at <= now() - :window THEN now() ELSE first_at END
    WHERE account = :account AND client = :client AND succeeded_at IS NOT NULL
    RETURNING failures, extract(epoch FROM first_at + :window - now())::float8 AS left_s
""")
# `is_recorded` is false where a known client has reached the limit since the attempt began. The
# lock lets the account's deletion wait, which then removes the row.
_RECORD_SUCCESS = text("""
    WITH account AS (
        SELECT id FROM users WHERE id = :user_id AND email = :email FOR KEY SHARE
    ), recorded AS (
        INSERT INTO login_failures AS counted (account, client, failures, succeeded_at)
        SELECT :account, :client, 0, now() FROM account
        ON CONFLICT (account, client) DO UPDATE
        SET failures = 0, first_at = now(), succeeded_at = now()
        WHERE counted.succeeded_at IS NULL OR counted.failures < :failures_max
            OR counted.first_at <= now() - :window
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM account) AS is_there,
        EXISTS (SELECT FROM recorded) AS is_recorded
""")
_RESET = text("""
    INSERT INTO login_failures (account, client, failures, succeeded_at)
    VALUES (:account, :client, 0, now())
    ON CONFLICT (account, client) DO UPDATE SET failures = 0, first_at = now(), succeeded_at = now()
""")
_MOVE_KNOWN = text("""
    WITH removed AS (
        DELETE FROM login_failures WHERE account = :old_account
        RETURNING client, failures, first_at, succeeded_at
    )
    INSERT INTO login_failures (account, client, failures, first_at, succeeded_at)
    SELECT :new_account, client, failures, first_at, succeeded_at FROM removed
    WHERE succeeded_at IS NOT NULL
    ON CONFLICT (account, client) DO UPDATE SET succeeded_at = excluded.succeeded_at
""")
_FORGET = text("""
    DELETE FROM login_failures WHERE (account, client) IN (
        SELECT account, client FROM login_failures
        WHERE first_at <= now() - :window
            AND (succeeded_at IS NULL OR succeeded_at <= now() - make_interval(days => 90))
        LIMIT 100 FOR UPDATE SKIP LOCKED
    )
""")


@dataclass(frozen=True)
class Limit:
    """At most `failures` failed log-ins of one address within `window_s` seconds.

    Addresses that have never logged in to the account share `unknown_clients` attempts in that
    time.
    """

    failures: int
    window_s: float
    unknown_clients: int


class TooManyFailures(Exception):
    """Too many failed log-ins; the next attempt is considered in `retry_after_s` seconds.

    `limit_name`, `quota` and `window_s` are what RateLimit-Policy says.
    """

    def __init__(self, retry_after_s: float, limit_name: str, quota: int, window_s: float) -> None:
        super().__init__("Too many failed log-ins for this account; wait a little.")
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        self.limit_name = limit_name
        self.quota = quota
        self.window_s = math.ceil(window_s)


@dataclass(frozen=True)
class LoginThrottle:
    """One client's log-ins to one account, which need not exist."""

    account: str
    client: str
    limit: Limit

    @classmethod
    def of(cls, email: str, address: str | None, limit: Limit) -> "LoginThrottle":
        """Return the throttle of an address, as the proxy in front gives it."""
        return cls(account_of(email), _client(address), limit)

    def check(self) -> None:
        """Count an unknown client's attempt. Raises TooManyFailures when it is one too many."""
        with transaction() as session:
            count = session.execute(_COUNT, {**self._key, "window": self._window}).one()
        if count.failures >= self.limit.failures + (0 if count.is_known else 1):
            raise self._too_many(count.left_s)
        if not count.is_known:
            self._check_unknown_clients()

    def record_failure(self) -> None:
        """Count a known client's failure. Raises TooManyFailures when it is one too many."""
        with transaction() as session:
            values = {**self._key, "window": self._window}
            count = session.execute(_RECORD_FAILURE, values).one_or_none()
            session.execute(_FORGET, {"window": self._window})
        if count and count.failures > self.limit.failures:
            raise self._too_many(count.left_s)

    def record_success(self, user_id: int, email: str) -> bool:
        """Delete the failures of this address, and record that it has logged in.

        False, and nothing is remembered, where the account has been deleted meanwhile, or has
        another email.

        Raises TooManyFailures where parallel attempts have failed too often meanwhile: otherwise
        one of many parallel guesses would succeed beyond the limit.
        """
        values = {**self._key, "window": self._window, "failures_max": self.limit.failures}
        account = {"user_id": user_id, "email": email}
        with transaction() as session:
            outcome = session.execute(_RECORD_SUCCESS, {**values, **account}).one()
        if outcome.is_there and not outcome.is_recorded:
            raise self._too_many(self.limit.window_s)
        return bool(outcome.is_there)

    def reset(self) -> None:
        """Make this address a known one without failures, at the sign-up."""
        with transaction() as session:
            session.execute(_RESET, self._key)

    @property
    def _key(self) -> dict[str, str]:
        return {"account": self.account, "client": self.client}

    @property
    def _window(self) -> timedelta:
        return timedelta(seconds=self.limit.window_s)

    def _too_many(self, left_s: float) -> TooManyFailures:
        limit = self.limit
        return TooManyFailures(left_s, "failed-log-ins", limit.failures, limit.window_s)

    def _check_unknown_clients(self) -> None:
        interval = self._window / self.limit.unknown_clients
        values = {"account": self.account, "client": _ALL_UNKNOWN}
        times = {"window": self._window, "interval": interval}
        with transaction() as session:
            admitted = session.execute(_COUNT_UNKNOWN, {**values, **times}).one_or_none()
        if admitted is None:
            raise TooManyFailures(
                interval.total_seconds(),
                "log-ins-of-new-addresses",
                self.limit.unknown_clients,
                self.limit.window_s,
            )


def move_known_clients(old_email: str, new_email: str) -> None:
    """Know the account's addresses under its new email too, within the caller's transaction.

    Nothing is left under the old one, which may become another account's.
    """
    accounts = {"old_account": account_of(old_email), "new_account": account_of(new_email)}
    if accounts["old_account"] != accounts["new_account"]:
        db.session.execute(_MOVE_KNOWN, accounts)


def _client(address: str | None) -> str:
    """Return the address in its normal form; of IPv6 the /64 network, which one caller has."""
    try:
        client = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(client, IPv6Address):
        return str(ip_network((client, 64), strict=False))
    return str(client)


def account_of(email: str) -> str:
    """Return the name under which failures of an email are counted: no email is stored.

    Letter by letter, as PostgreSQL's `lower` does, which finds the account: it knows no final sigma
    and one letter for `İ`. Two spellings of one account would else have a count each.
    """
    lowered = "".join(letter.lower()[0] for letter in email)
    return hashlib.sha256(lowered.encode()).hexdigest()
