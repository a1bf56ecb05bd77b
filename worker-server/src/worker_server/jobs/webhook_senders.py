"""Threads of a fetch worker's main process that send the outbox of webhooks.

They poll the rows, so neither Redis nor a further process is needed. Each webhook
has one attempt at a time, so a slow receiver takes one thread for ten seconds at most.
"""

import logging
import threading

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from worker_server.fetching import EgressRules
from worker_server.jobs.webhooks import send_due
from worker_server.settings import Settings
from worker_server.webhooks.sending import TIMEOUT_S, Sender

_THREADS = 4
_POLL_S = 1.0
_log = logging.getLogger(__name__)


class WebhookSenders:
    """Sends between `start` and `stop`; what a thread is sending then is sent again later."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        rules = EgressRules(settings.webhook_allow_hosts, settings.fetch_deny_hosts)
        self._sender = Sender(rules)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True)
            for number in range(_THREADS)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; waits for each at most as long as an attempt may take."""
        self._ended.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _run(self) -> None:
        while not self._ended.wait(_POLL_S):
            try:
                with self._app.app_context():
                    send_due(self._sender, self._ended.is_set)
            except SQLAlchemyError as error:
                _log.warning("webhooks cannot be sent: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 # the thread must not end; the delivery is due again
                _log.exception("webhook delivery failed with an unexpected exception")
