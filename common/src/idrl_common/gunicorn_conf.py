"""How both apps are served: `gunicorn --config python:idrl_common.gunicorn_conf`; the command line wins over this."""

import logging
import os
from typing import TYPE_CHECKING, Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from prometheus_client import multiprocess

from idrl_common import logs

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
    from gunicorn.workers.base import Worker  # type: ignore[import-untyped]

worker_class = "gthread"
threads = 8
# nginx keeps its connections for 60 s: it must be the one to close them, or a POST may meet a closed one.
keepalive = 75
graceful_timeout = 10
# No stricter than nginx, whose refusals are problems, while gunicorn's are HTML.
limit_request_line = 8190
limit_request_fields = 32768
# Its default place is the same for all servers of a user, and nothing here speaks to it.
control_socket_disable = True


class logger_class(Logger):  # type: ignore[misc] # noqa: N801 # gunicorn looks for this name; it has no types
    """Sends what gunicorn itself says where the app's lines go, as JSON."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 # gunicorn has no types
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
        if not logging.getLogger().handlers:
            logs.configure("gunicorn")


def child_exit(_: "Arbiter", worker: "Worker") -> None:
    """Take the figures of a process that ended out of those that only the living count for."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # the library leaves it untyped
