"""The main use of the API by the client that openapi-python-client generates, at BASE_URL."""

import hashlib
import os
import time
import uuid

from idrl_generated import AuthenticatedClient, Client
from idrl_generated.api.accounts import login, signup
from idrl_generated.api.tasks import create_task, download_part, get_task
from idrl_generated.models import (
    Login,
    NewTask,
    Signup,
    TaskFields,
    TaskNotFoundProblem,
    TaskWithParts,
    Token,
    User,
)
from idrl_generated.types import File

BASE_URL = os.environ["BASE_URL"]
PASSWORD = "Analytical1"


def authenticated_client() -> AuthenticatedClient:
    """Sign up, log in, and return the client with the token."""
    client, name = Client(BASE_URL), f"py-{uuid.uuid4()}"
    email = f"{name}@example.com"
    account = Signup(username=name, email=email, password=PASSWORD, password_2=PASSWORD)
    user = signup.sync(client=client, body=account)
    assert isinstance(user, User)
    assert user.username == name
    token = login.sync(client=client, body=Login(email=email, password=PASSWORD))
    assert isinstance(token, Token)
    return AuthenticatedClient(BASE_URL, token.token)


def finished_task(client: AuthenticatedClient, task_id: uuid.UUID) -> TaskWithParts:
    """Return the task once it has ended."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        task = get_task.sync(task_id, client=client)
        assert isinstance(task, TaskWithParts)
        if task.status in {"done", "failed", "canceled"}:
            return task
        time.sleep(1)
    raise TimeoutError("the task did not end in time")


def main() -> None:
    """Post a video, poll, download every part whole, and read the code of an error."""
    client = authenticated_client()
    video = NewTask(url=os.environ["VIDEO_URL"])
    first, second = (create_task.sync(client=client, body=video) for _ in range(2))
    assert isinstance(first, TaskFields)
    assert isinstance(second, TaskFields)
    # No Idempotency-Key unless the caller gives one.
    assert first.task_id != second.task_id
    task = finished_task(client, first.task_id)
    assert task.status == "done"
    assert task.parts
    for part in task.parts:
        clip = download_part.sync(task.task_id, part.number, client=client)
        assert isinstance(clip, File)
        data = clip.payload.read()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part.size_bytes, part.sha256)
    problem = get_task.sync(uuid.uuid4(), client=client)
    assert isinstance(problem, TaskNotFoundProblem)
    assert problem.code == "task_not_found"
    print("the generated Python client made the whole journey")


main()
