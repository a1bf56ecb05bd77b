"""Deletes an account: first its tasks with their files, then the account itself."""

import json
import threading
import time

from idrl_common import request_ids
from web_server import accounts
from web_server.authentication import Authenticator
from web_server.models import User
from web_server.tasks_client import TasksService, TasksUnavailable, read_body
from web_server.token_signer import TokenSigner

# Seconds after which no round starts. If the tasks service then hangs as well, nginx ends the wait
# with 504 after 14 s; the caller may delete the account again.
_REMOVAL_S = 8
_BETWEEN_ROUNDS_S = 0.25
# Ids of the accounts that a call in this process is deleting.
_under_way: set[int] = set()
_lock = threading.Lock()
_NO_DEFAULT = b'{"brand_id": null}'


class TasksStillRunning(Exception):
    """Some tasks could not be aborted in time; the account still exists."""

    def __init__(self) -> None:
        super().__init__("Some tasks are still being aborted; log in and delete the account again.")


def remove(
    user: User, tasks: TasksService, authenticator: Authenticator, signer: TokenSigner
) -> None:
    """Delete every task of the account and then the account; raise TasksStillRunning.

    Raise BadCredentials where the password is no longer that of `user`.

    Only one call at a time deletes an account, since it may hold a thread for seconds. The tokens
    and keys end first: a script that keeps posting would keep the account from becoming empty.
    Calls that are under way may still add something, so the account is deleted only once nothing
    is left; nothing can be added afterwards.
    """
    with _lock:
        if user.id in _under_way:
            raise TasksStillRunning
        _under_way.add(user.id)
    try:
        _remove(user, tasks, authenticator, signer)
    finally:
        with _lock:
            _under_way.discard(user.id)


def _remove(
    user: User, tasks: TasksService, authenticator: Authenticator, signer: TokenSigner
) -> None:
    accounts.end_tokens(user.id, if_password_hash=user.password_hash)
    deadline = time.monotonic() + _REMOVAL_S
    # The tasks service does not know about ended tokens.
    headers = {
        "Authorization": f"Bearer {signer.sign(user.id, user.role)}",
        **request_ids.headers(),
    }
    while True:
        accounts.delete_keys(user.id)  # in every round: a concurrent call may have made one
        authenticator.forget(user.id)
        _remove_tasks(tasks, headers, deadline)
        if _try_delete(user):
            return
        if time.monotonic() > deadline:
            raise TasksStillRunning
        time.sleep(_BETWEEN_ROUNDS_S)


def _try_delete(user: User) -> bool:
    """Delete the account unless something of it is left on the worker machine; return whether."""
    try:
        accounts.delete_user(user)
    except accounts.StillInUse:
        return False
    return True


def _remove_tasks(tasks: TasksService, headers: dict[str, str], deadline: float) -> None:
    # Batches first: one call deletes up to 500 tasks, and a call for each takes minutes.
    _remove_listed(tasks, "/batches?max=100", headers, headers, deadline)
    _remove_listed(tasks, "/tasks?max=1000&order=0", headers, headers, deadline)
    uploads = {**headers, "Tus-Resumable": "1.0.0"}
    _remove_listed(tasks, "/uploads", headers, uploads, deadline)
    _remove_listed(tasks, "/brands", headers, headers, deadline)
    _remove_listed(tasks, "/webhooks", headers, headers, deadline)
    _call(tasks, "PUT", "/brands/default", headers, _NO_DEFAULT)
    _call(tasks, "DELETE", "/webhooks/callback-secret", headers)


def _remove_listed(
    tasks: TasksService,
    target: str,
    headers: dict[str, str],
    deletion_headers: dict[str, str],
    deadline: float,
) -> None:
    """Delete what is listed at `target` until nothing is; raise TasksStillRunning.

    The first call for a live task or batch only aborts it, so each later round waits a little.
    """
    is_first = True
    while listed := _list(tasks, target, headers):
        if not is_first:
            time.sleep(_BETWEEN_ROUNDS_S)
        is_first = False
        for each in listed:
            _call(tasks, "DELETE", each["link"], deletion_headers)
            if time.monotonic() > deadline:
                raise TasksStillRunning


def _list(tasks: TasksService, target: str, headers: dict[str, str]) -> list[dict[str, str]]:
    status, body = _call(tasks, "GET", target, headers)
    if status != 200:
        raise TasksUnavailable
    listed: list[dict[str, str]] = json.loads(body)
    return listed


def _call(
    tasks: TasksService,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes | None = None,
) -> tuple[int, bytes]:
    sent = headers if body is None else {**headers, "Content-Type": "application/json"}
    response = tasks.send(method, target, sent, body)
    return response.status, read_body(response)
