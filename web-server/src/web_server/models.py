"""Rows that the web app owns: users, and the log-ins that went wrong."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Identity, Index, Integer, String, Text, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

USERNAME_INDEX = "users_username_key"
EMAIL_INDEX = "users_email_key"


class Base(DeclarativeBase):
    """The metadata of the web app's tables; `psg` owns their schema."""


class User(Base):
    """A person with a password; username and email are unique whatever the case."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    username: Mapped[str] = mapped_column(String(64))
    email: Mapped[str] = mapped_column(String(254))
    password_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (
        Index(USERNAME_INDEX, text("lower(username)"), unique=True),
        Index(EMAIL_INDEX, text("lower(email)"), unique=True),
    )


class LoginFailures(Base):
    """How often one caller got one account's password wrong since `first_at`.

    `account` is the SHA-256 of the email in lower case, whether there is such an account or not.
    """

    __tablename__ = "login_failures"

    account: Mapped[str] = mapped_column(String(64), primary_key=True)
    client: Mapped[str] = mapped_column(String(43), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    first_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (Index("login_failures_first_at", "first_at"),)
