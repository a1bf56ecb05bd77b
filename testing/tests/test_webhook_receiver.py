"""The receiver of webhooks keeps messages, and answers or disconnects as a test defines."""

import pytest
import requests

from idrl_testing.webhook_receiver import Answer, Message, receive


def test_message_is_kept_and_answered() -> None:
    messages: list[Message] = []

    def respond(message: Message) -> Answer:
        messages.append(message)
        return Answer(503, {"Retry-After": "9"})

    with receive(respond) as url:
        answer = requests.post(f"{url}/hook?a=1", b"{}", headers={"Webhook-Id": "m"}, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"], answer.content) == (503, "9", b"")
    (message,) = messages
    assert (message.path, message.body) == ("/hook?a=1", b"{}")
    assert message.headers["webhook-id"] == "m"


def test_connection_breaks_off_without_an_answer() -> None:
    with receive(lambda _: None) as url, pytest.raises(requests.ConnectionError):
        requests.post(url, b"{}", timeout=10)
