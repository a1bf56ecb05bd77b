"""What operators do with accounts: `flask --app web_server users …`."""

import secrets
from datetime import UTC, datetime, timedelta

import click
from pydantic import ValidationError
from sqlalchemy import func, null, select, update

from idrl_common.commands import DatabaseCommands
from idrl_common.token_verifier import ROLES
from web_server import accounts, services
from web_server.db import transaction
from web_server.models import Invitation, User
from web_server.passwords import hash_password
from web_server.schemas import SignUp, known_email

_Quota = click.IntRange(0, 2**62)
users = DatabaseCommands("users", help="Add, list, change and disable accounts.")


@users.command()
@click.argument("username")
@click.argument("email")
@click.option("--operator", is_flag=True, help="An operator: sees and controls the whole system.")
@click.option("--password", help="Generated and printed if not given.")
def add(username: str, email: str, *, operator: bool, password: str | None) -> None:
    """Create an account, whatever SIGNUP says."""
    chosen = password or _new_password()
    body = {"username": username, "email": email, "password": chosen, "password_2": chosen}
    try:
        checked = SignUp.model_validate(body, context=body)
        role = "operator" if operator else "user"
        user_id = services.create_user(checked.username, checked.email, chosen, role=role)
    except ValidationError as error:
        raise click.ClickException(_message_of(error)) from error
    except (services.UsernameTaken, services.EmailTaken) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"account {user_id} of {checked.username} exists")
    if not password:
        click.echo(f"password: {chosen}")


@users.command(name="list")
def list_users() -> None:
    """List every account, the oldest first."""
    with transaction() as session:
        rows = list(session.scalars(select(User).order_by(User.id)))
        for user in rows:
            state = "disabled" if user.disabled_at else "active"
            created = user.created_at.astimezone(UTC).date().isoformat()
            click.echo(f"{user.id}\t{user.username}\t{user.email}\t{user.role}\t{state}\t{created}")


@users.command()
@click.argument("email")
@click.option("--undo", is_flag=True, help="Enable the account again.")
def disable(email: str, *, undo: bool) -> None:
    """Refuse the account's log-ins, tokens and keys, within seconds."""
    accounts.end_tokens(_find(email).id, disabled_at=None if undo else datetime.now(UTC))
    click.echo("enabled" if undo else "disabled")


@users.command(name="set-role")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
def set_role(email: str, role: str) -> None:
    """Change what the account may do, and end its tokens, which name the old role."""
    accounts.end_tokens(_find(email).id, role=role)
    click.echo(f"role: {role}")


@users.command(name="set-quota")
@click.argument("email")
@click.option("--live-tasks", type=_Quota, help="Tasks that may be live at once.")
@click.option("--bytes", "size_bytes", type=_Quota, help="Bytes that all files may take.")
@click.option("--source-seconds-per-day", type=_Quota, help="Seconds of video a day.")
@click.option("--default", "is_default", is_flag=True, help="Drop the account's own quotas first.")
def set_quota(email: str, *, is_default: bool, **given: int | None) -> None:
    """Change quotas of one account; 0 is no limit. What is not given stays as it is."""
    user = _find(email)
    kept = {} if is_default else user.quotas or {}
    changed = {name: value for name, value in given.items() if value is not None}
    quotas = {**kept, **changed}
    _change(email, quotas=quotas or null())
    click.echo(", ".join(f"{name}: {value}" for name, value in quotas.items()) or "the settings'")


@users.command()
@click.option("--days", type=click.IntRange(1, 365), default=7, show_default=True)
def invite(days: int) -> None:
    """Print a code for one sign-up while SIGNUP=invite."""
    code = secrets.token_urlsafe(24)
    expires_at = datetime.now(UTC) + timedelta(days=days)
    with transaction() as session:
        session.add(Invitation(code_sha256=services.code_sha256(code), expires_at=expires_at))
    click.echo(code)


@users.command(name="reset-password")
@click.argument("email")
def reset_password(email: str) -> None:
    """Print a new password, and end every token of the account."""
    password = _new_password()
    accounts.end_tokens(_find(email).id, password_hash=hash_password(password))
    click.echo(f"password: {password}")


def _message_of(error: ValidationError) -> str:
    return "\n".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())


def _new_password() -> str:
    """Return a password that fits the rules of sign-up."""
    return f"Aa1-{secrets.token_urlsafe(18)}"


def _find(email: str) -> User:
    known = known_email(email)
    same = select(User).where(func.lower(User.email) == func.lower(known))
    with transaction() as session:
        # PostgreSQL has no text with a NUL or a lone surrogate, which stands for a wrong byte.
        user = session.scalar(same) if known.isprintable() else None
    if user is None:
        raise click.ClickException("There is no account with this email.")
    return user


def _change(email: str, **values: object) -> None:
    user = _find(email)
    with transaction() as session:
        session.execute(update(User).where(User.id == user.id).values(**values))
