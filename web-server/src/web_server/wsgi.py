"""The entry point of the web app: `gunicorn web_server.wsgi:app`."""

from dotenv import load_dotenv

from idrl_common import logs
from idrl_common.wsgi import CollapseSlashes
from web_server.app import create_app
from web_server.settings import Settings

load_dotenv()
settings = Settings()
logs.configure("web", settings.log_level)
app = CollapseSlashes(create_app(settings))
