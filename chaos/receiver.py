"""Takes the webhooks of all callers, and checks who has sent them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from idrl_testing import webhook_receiver
from idrl_testing.webhook_receiver import Answer, Message

_REFUSED_ONCE = 5


@dataclass
class Receiver:
    """A running receiver: what has arrived, and what came unsigned or signed by another secret."""

    url: str = ""
    verifiers: dict[str, Webhook] = field(default_factory=dict)
    arrived: set[tuple[str, str]] = field(default_factory=set)
    forged: list[str] = field(default_factory=list)
    _messages: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def has_received(self, task: dict[str, object]) -> bool:
        """Return whether the event of an ended task has arrived."""
        return (f"task.{task['status']}", str(task["task_id"])) in self.arrived

    def expect_secret(self, path: str, secret: str) -> None:
        """Expect the messages at a path to be signed by this secret."""
        self.verifiers[path] = Webhook(secret)

    def handle(self, message: Message) -> Answer:
        """Record a message and return the answer: every fifth one is refused once."""
        name = message.headers["webhook-id"]
        with self._lock:
            try:
                self.verifiers[message.path].verify(message.body, message.headers)
            except WebhookVerificationError as error:
                self.forged.append(f"a message at {message.path}: {error}")
            if name not in self._messages:
                self._messages.add(name)
                if len(self._messages) % _REFUSED_ONCE == 0:
                    return Answer(503)
            event = json.loads(message.body)
            self.arrived.add((event["type"], event["data"].get("task_id", "")))
        return Answer()


@contextmanager
def listening() -> Iterator[Receiver]:
    """Take webhooks on loopback while the block runs."""
    receiver = Receiver()
    with webhook_receiver.receive(receiver.handle) as url:
        receiver.url = url
        yield receiver
