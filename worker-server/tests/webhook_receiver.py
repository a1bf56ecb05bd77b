"""A fake receiver of webhooks; everything else in these tests is real."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier

from idrl_testing import webhook_receiver
from idrl_testing.webhook_receiver import Answer, Message


@dataclass
class Receiver:
    """What the receiver was sent, and what it answers; a killed one breaks the connection off."""

    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0
    before_answer: Callable[[], object] = bool
    is_killed: bool = False

    def respond(self, message: Message) -> Answer | None:
        """Keep the message, then answer as the test says."""
        self.received.append((message.headers, message.body))
        time.sleep(self.pause_s)
        self.before_answer()
        return None if self.is_killed else Answer(self.status, self.headers)

    def verified(self, secret: str) -> list[Any]:
        """Return the bodies, which the public library has verified."""
        verifier = Verifier(secret)
        return [verifier.verify(body, headers) for headers, body in self.received]


@contextmanager
def listening() -> Iterator[Receiver]:
    """Yield a receiver that listens on loopback."""
    receiver = Receiver()
    with webhook_receiver.receive(receiver.respond) as address:
        receiver.url = f"{address}/hook?key=1"
        yield receiver
