"""Write the bytecode of all that an app's processes import.

For installations in which they cannot write it themselves: images, and the checkouts of services
that root starts. `python -m idrl_common.bytecode web_server worker_server` names the apps.
"""

import compileall
import sys
from importlib import import_module
from importlib.util import find_spec

_SERVICE = ("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "psycopg2")
# Importing a module compiles what it needs of the libraries, and no more of them.
_IMPORTED = {
    "web_server": (*_SERVICE, "web_server.app"),
    "worker_server": (
        *_SERVICE,
        "celery.apps.worker",
        "celery.bin.celery",
        "celery.concurrency.prefork",
        "celery.concurrency.solo",
        "kombu.transport.redis",
        "moviepy",
        "worker_server.app",
        "worker_server.jobs.tasks",
        "worker_server.media.branding.image_child",
        "worker_server.sweeper",
    ),
}


def _compile_package(name: str) -> None:
    """Compile all modules of a package of ours."""
    spec = find_spec(name)
    for folder in (spec and spec.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)


if __name__ == "__main__":
    sys.dont_write_bytecode = False  # images of Python often set PYTHONDONTWRITEBYTECODE
    for app in sys.argv[1:]:
        _compile_package(app)
        for module in _IMPORTED[app]:
            import_module(module)
    _compile_package("idrl_common")
