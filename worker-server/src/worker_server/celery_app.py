"""Celery as this system uses it: messages only wake workers, and nothing depends on one arriving.

Early acknowledgement and no prefetch: with late acknowledgement a worker's main process can end
when Redis does, and a prefetched message can stay in `unacked` for an hour. No result backend: the
rows are the result.
"""

import logging
from typing import Any

from celery import Celery, Task
from flask import Flask
from kombu.transport import redis as redis_transport, virtual
from kombu.utils.json import loads
from redis.exceptions import ResponseError

from worker_server.redis_client import tls_options
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_TRANSPORT = {
    # How long a send waits for a Redis that takes connections but does not answer.
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "visibility_timeout": 3600,
    # Do not retry sending a wake-up: the sweeper sends it again. Consumers reconnect by
    # themselves.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
}


# kombu lets an error that Redis answers end the worker's main process: no memory left, a failed
# save, a server that has become a replica or misses its own, a right taken away. Listed as a
# connection error, it makes the worker wait and reconnect instead.
redis_transport.Transport.connection_errors = (
    *redis_transport.Transport.connection_errors,
    ResponseError,
)


class MalformedMessage(ValueError):
    """What was in the queue is not a message of Celery's."""


def _parsed(text: str) -> Any:  # noqa: ANN401 # JSON has no types
    try:
        return loads(text)
    except Exception as error:
        raise MalformedMessage from error


class _Message(virtual.Message):
    """A message with all fields that kombu and Celery read; raise MalformedMessage without."""

    def __init__(self, payload: Any, **more: Any) -> None:  # noqa: ANN401 # whatever was sent
        try:
            super().__init__(payload, **more)
            needed = (self.headers["task"], self.headers["id"], self.delivery_tag)
            route = (self.delivery_info["exchange"], self.delivery_info["routing_key"])
        except Exception as error:
            raise MalformedMessage from error
        if not all(isinstance(each, str) for each in (*needed, *route)):
            raise MalformedMessage


class _Channel(redis_transport.Channel):
    """Drops malformed messages, as another program or a person may have put there.

    kombu lets it end the worker's main process. Nothing is lost: the sweeper sends the wake-ups
    that are missing.
    """

    Message = _Message

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ANN401 # kombu's
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[misc] # not in the stubs
        except MalformedMessage as error:
            reason = type(error.__cause__ or error).__name__
            _log.error("dropped a malformed message: %s", reason)
            return True


redis_transport.loads = _parsed  # type: ignore[attr-defined] # not in the stubs
redis_transport.Transport.Channel = _Channel


def init_celery(app: Flask, settings: Settings) -> "Celery[Any]":
    """Return the app's Celery, whose tasks run in the app's context."""

    class ContextTask(Task):  # type: ignore[type-arg] # a parameter that the class does not have at run time
        def __call__(self, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 # whatever the task takes
            with app.app_context():
                return self.run(*args, **kwargs)

    celery = Celery("worker_server", task_cls=ContextTask, include=["worker_server.jobs.tasks"])
    celery.conf.update(
        broker_url=settings.redis_url,
        broker_use_ssl=tls_options(settings) or None,
        broker_transport_options=_TRANSPORT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_max_tasks_per_child=50,
        # Where the command line gives none (0): Celery's own default counts the host's cores.
        worker_concurrency=settings.render_concurrency,
        # Celery kills a new child that does not answer within this time, 4 s by default. On a
        # starved machine imports alone take longer, and children would be killed for ever.
        worker_proc_alive_timeout=120.0,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
    )
    celery.set_default()
    app.extensions["celery"] = celery
    return celery
