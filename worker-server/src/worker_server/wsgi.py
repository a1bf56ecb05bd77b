"""The entry point of the tasks service: `gunicorn worker_server.wsgi:app`."""

from dotenv import load_dotenv

from idrl_common import logs
from worker_server.app import create_app
from worker_server.db import service_engine_options
from worker_server.settings import Settings

load_dotenv()
settings = Settings()
logs.configure("tasks", settings.log_level)
app = create_app(settings, service_engine_options())
