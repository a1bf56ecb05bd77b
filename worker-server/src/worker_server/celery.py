"""The entry point of the Celery workers: `celery -A worker_server.celery:app worker -Q fetch`."""

from celery import Celery
from dotenv import load_dotenv

from idrl_common import logs
from worker_server.app import create_app
from worker_server.settings import Settings

load_dotenv()
settings = Settings()
logs.configure("worker", settings.log_level)
flask_app = create_app(settings)
app: Celery = flask_app.extensions["celery"]
