"""The entry point of the web app: `gunicorn web_server.wsgi:app`."""

from dotenv import load_dotenv

from idrl_common import logs
from web_server.app import create_app
from web_server.settings import Settings

load_dotenv()
settings = Settings()
logs.configure("web", settings.log_level)
app = create_app(settings)
