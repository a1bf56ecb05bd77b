"""Receivers whose answer does not end, in time or at all, or is not one."""

import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from idrl_testing.clocks import Clock
from idrl_testing.tls import write_certificate
from idrl_testing.waiting import LIMIT_S
from worker_server.fetching import watchdog
from worker_server.fetching.addresses import EgressRules
from worker_server.queue.webhooks import Delivery, Outcome
from worker_server.webhooks.sending import Sender


def _delivery(url: str) -> Delivery:
    now, event_id = datetime.now(UTC), uuid.uuid4()
    event = (event_id, event_id, "task.done", now, None, None, None, 1)
    return Delivery(*event, 1, now, url, (b"x" * 32,), "{}")


def _read_request(connection: socket.socket) -> None:
    received = b""
    while not received.endswith(b"{}"):
        received += connection.recv(65536)


def test_headers_that_do_not_end_in_time_are_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is shut down then, and an end within the headers looks like their end."""
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                _read_request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: b\r\n")
                clock.sleep(LIMIT_S)
                while connection.recv(65536):
                    pass  # until the sender has shut the connection down

        thread = threading.Thread(target=answer)
        thread.start()
        sender = Sender(EgressRules({"127.0.0.1"}), timeout_s=LIMIT_S)
        delivery = _delivery(f"http://127.0.0.1:{server.getsockname()[1]}/")
        assert sender.send(delivery, "{}", lambda: False) == Outcome(error_code="receiver_too_slow")
        thread.join()


@contextmanager
def _receiver(answer: bytes) -> Iterator[str]:
    """Read a request, send these bytes and close the connection; yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def respond() -> None:
            connection, _ = server.accept()
            with connection:
                _read_request(connection)
                connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def _outcome_of(answer: bytes) -> Outcome:
    with _receiver(answer) as url:
        sender = Sender(EgressRules({"127.0.0.1"}), timeout_s=LIMIT_S)
        return sender.send(_delivery(url), "{}", lambda: False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 200 OK\nDate: x\n",
        b"HTTP/1.1 204 No Content\r\nDate: x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConn",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
    ],
)
def test_answer_cut_off_within_its_headers_is_a_failure(answer: bytes) -> None:
    """What answered may be a proxy of a receiver that has died."""
    assert _outcome_of(answer) == Outcome(error_code="receiver_unavailable")


@pytest.mark.parametrize("status", [b"+200", b"2_00", b"0200", b"2000", "٢٠٠".encode()])
def test_status_has_three_digits(status: bytes) -> None:
    answer = b"HTTP/1.1 %s OK\r\nContent-Length: 0\r\n\r\n" % status
    assert _outcome_of(answer) == Outcome(error_code="receiver_unavailable")


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_interim_answers_are_skipped(interim: bytes) -> None:
    """RFC 9110 §15.2: any number of them may come before the final one."""
    twice = b"HTTP/1.1 %s\r\nLink: </x>\r\n\r\n" % interim * 2
    answer = twice + b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    assert _outcome_of(answer) == Outcome(202)


def test_receiver_without_a_valid_certificate_is_sent_nothing(tmp_path: Path) -> None:
    """The account reads what is wrong with it, not that a source could not be downloaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(tmp_path, "127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake_hands() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True).recv(1)

        thread = threading.Thread(target=shake_hands)
        thread.start()
        delivery = _delivery(f"https://127.0.0.1:{server.getsockname()[1]}/")
        sender = Sender(EgressRules({"127.0.0.1"}), timeout_s=LIMIT_S)
        outcome = sender.send(delivery, "{}", lambda: False)
        thread.join()
    assert outcome == Outcome(error_code="receiver_tls_invalid")


def test_protocol_is_never_switched() -> None:
    assert _outcome_of(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n") == Outcome(101)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    ],
)
def test_whole_headers_suffice(answer: bytes) -> None:
    assert _outcome_of(answer) == Outcome(200)
