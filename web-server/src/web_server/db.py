"""The connection to PostgreSQL."""

from flask_sqlalchemy import SQLAlchemy

from idrl_common.database import transactions
from web_server.models import Base

db = SQLAlchemy(model_class=Base)
transaction = transactions(db.session)
ENGINE_OPTIONS = {
    "pool_pre_ping": True,
    "pool_size": 5,
    "max_overflow": 15,
    "pool_timeout": 5,
    "pool_recycle": 1800,
    # The text of an error goes to the log, where addresses and hashes do not belong.
    "hide_parameters": True,
}
