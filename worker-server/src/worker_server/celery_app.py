"""Celery as this system uses it: messages only wake workers, and nothing depends on one arriving.

Early acknowledgement and no prefetch: with late acknowledgement a worker's main process can end
when Redis does, and a prefetched message can stay in `unacked` for an hour. No result backend: the
rows are the result.
"""

from typing import Any

from celery import Celery, Task
from flask import Flask
from kombu.transport.redis import Transport
from redis.exceptions import ResponseError

from worker_server.redis_client import tls_options
from worker_server.settings import Settings

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
Transport.connection_errors = (*Transport.connection_errors, ResponseError)


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
