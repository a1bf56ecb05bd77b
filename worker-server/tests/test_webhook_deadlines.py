"""Receivers whose answer does not end in time."""

import socket
import threading
import time
import uuid
from datetime import UTC, datetime

from worker_server.fetching.addresses import EgressRules
from worker_server.queue.webhooks import Delivery, Outcome
from worker_server.webhooks.sending import Sender


def _delivery(url: str) -> Delivery:
    now, event_id = datetime.now(UTC), uuid.uuid4()
    event = (event_id, event_id, "task.done", now, None, None, None, 1)
    return Delivery(*event, 1, now, url, (b"x" * 32,), "{}")


def test_an_answer_whose_headers_do_not_end_in_time_is_none() -> None:
    """The connection is shut down then, and an end within the headers looks like their end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: b\r\n")
                time.sleep(2)

        thread = threading.Thread(target=answer)
        thread.start()
        sender = Sender(EgressRules({"127.0.0.1"}), timeout_s=0.5)
        delivery = _delivery(f"http://127.0.0.1:{server.getsockname()[1]}/")
        assert sender.send(delivery, "{}", lambda: False) == Outcome(error_code="receiver_too_slow")
        thread.join()
