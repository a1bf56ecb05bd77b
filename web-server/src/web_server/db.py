"""The connection to PostgreSQL."""

from flask_sqlalchemy import SQLAlchemy

from web_server.models import Base

db = SQLAlchemy(model_class=Base)
ENGINE_OPTIONS = {
    "pool_pre_ping": True,
    "pool_size": 5,
    "max_overflow": 15,
    "pool_timeout": 5,
    "pool_recycle": 1800,
    "hide_parameters": True,  # an error's text ends in the log, and addresses and hashes do not belong there
}
