"""Who may sign up, and what operators do with accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from web_testing import assert_problem, log_in

if TYPE_CHECKING:
    from conftest import AuthActions, MakeApp

    from idrl_testing.database import Database


def test_closed_sign_up(make_app: MakeApp, auth: AuthActions) -> None:
    auth.client = make_app(signup="closed").test_client()
    assert_problem(auth.signup(), 403, "signup_closed")


def test_invitation_is_good_for_one_sign_up(make_app: MakeApp, auth: AuthActions) -> None:
    app = make_app(signup="invite")
    auth.client = app.test_client()
    code = app.test_cli_runner().invoke(args=["users", "invite"]).output.strip()
    assert_problem(auth.signup(), 403, "invitation_invalid")
    assert_problem(auth.signup(invitation="x"), 403, "invitation_invalid")
    assert auth.signup(invitation=code).status_code == 201
    again = auth.signup("bob", "bob@example.com", invitation=code)
    assert_problem(again, 403, "invitation_invalid")
    assert auth.login().status_code == 200


def test_only_the_invited_learn_what_is_taken(
    make_app: MakeApp, auth: AuthActions, database: Database
) -> None:
    """A stranger cannot ask who has an account."""
    app = make_app(signup="invite")
    run = app.test_cli_runner().invoke
    run(args=["users", "add", "ada", "ada@example.com"])
    auth.client = app.test_client()
    code = run(args=["users", "invite"]).output.strip()
    assert_problem(auth.signup("ada", "eve@example.com", invitation=code), 409, "username_taken")
    assert_problem(auth.signup("eve", invitation=code), 409, "email_taken")
    database.execute("UPDATE invitations SET expires_at = now()")
    for invitation in (None, "x", code):
        for username, email in (("ada", "eve@example.com"), ("eve", "ada@example.com")):
            answer = auth.signup(username, email, invitation=invitation)
            assert_problem(answer, 403, "invitation_invalid")


def test_operators_add_list_and_disable_accounts(make_app: MakeApp, auth: AuthActions) -> None:
    app = make_app(signup="closed")
    auth.client, run = app.test_client(), app.test_cli_runner().invoke
    added = run(args=["users", "add", "ada", "ada@example.com", "--operator"])
    password = added.output.rpartition("password: ")[2].strip()
    headers = log_in(auth, password)
    me = auth.client.get("/me", headers=headers).json
    assert me is not None
    assert me["role"] == "operator"
    assert "ada@example.com\toperator\tactive" in run(args=["users", "list"]).output

    assert run(args=["users", "disable", "ADA@example.com"]).exit_code == 0
    assert_problem(auth.login(password=password), 403, "account_disabled")
    assert_problem(auth.login(), 401, "bad_credentials")
    fresh = make_app().test_client()
    assert_problem(fresh.get("/tasks", headers=headers), 401, "token_invalid")
    assert "disabled" in run(args=["users", "list"]).output
    run(args=["users", "disable", "--undo", "ada@example.com"])
    assert auth.login(password=password).status_code == 200

    reset = run(args=["users", "reset-password", "ada@example.com"]).output
    assert_problem(auth.login(password=password), 401, "bad_credentials")
    assert auth.login(password=reset.rpartition("password: ")[2].strip()).status_code == 200
    run(args=["users", "set-role", "ada@example.com", "user"])
    assert "ada@example.com\tuser\tactive" in run(args=["users", "list"]).output


def test_operators_mistakes_are_answered_with_a_sentence(make_app: MakeApp) -> None:
    run = make_app().test_cli_runner().invoke
    run(args=["users", "add", "ada", "ada@example.com"])
    for arguments, message in (
        (["add", "ADA", "x@example.com"], "This username is taken."),
        (["add", "ad\u0007a", "x@example.com"], "username: Must not contain"),
        (["add", "bob", "no address"], "email: Must be an email address."),
        (["add", "bob", "b@example.com", "--password", "x"], "password: Must have at least 8"),
        (["disable", "nobody@example.com"], "There is no account with this email."),
        (["disable", "nob\udcffdy@example.com"], "There is no account with this email."),
        (["reset-password", "\x00"], "There is no account with this email."),
        (["set-role", "ada@example.com", "root"], "Invalid value"),
    ):
        result = run(args=["users", *arguments])
        assert result.exit_code != 0
        assert message in result.output


@pytest.mark.parametrize(
    "spelling", ["JOSÉ@bücher.example", "jose\u0301@bücher.example", "josé@xn--bcher-kva.example"]
)
def test_operators_may_spell_an_email_as_its_owner_may(make_app: MakeApp, spelling: str) -> None:
    run = make_app().test_cli_runner().invoke
    run(args=["users", "add", "jose", "josé@bücher.example"])
    assert run(args=["users", "disable", spelling]).output == "disabled\n"


@pytest.mark.parametrize("command", ["list", "invite", "disable x@y.example"])
def test_operators_learn_that_the_database_is_unavailable(make_app: MakeApp, command: str) -> None:
    run = make_app(postgres_port=1).test_cli_runner().invoke
    result = run(args=["users", *command.split()])
    assert (result.exit_code, result.output) == (1, "Error: The database does not answer.\n")


def test_refused_log_in_names_the_account_without_its_email(
    auth: AuthActions, caplog: pytest.LogCaptureFixture
) -> None:
    auth.signup()
    auth.login(password="Wrong-passw0rd")
    [record] = [each for each in caplog.records if each.getMessage() == "log-in refused"]
    assert (len(record.account), record.reason) == (12, "BadCredentials")  # type: ignore[attr-defined] # `extra`
    assert "ada" not in str(vars(record))


def test_quotas_of_one_account(make_app: MakeApp, auth: AuthActions, database: Database) -> None:
    app = make_app()
    auth.client, run = app.test_client(), app.test_cli_runner().invoke
    auth.signup()

    def set_quota(*options: str) -> object:
        done = run(args=["users", "set-quota", "ada@example.com", *options])
        assert done.exit_code == 0, done.output
        return database.execute("SELECT quotas FROM users")[0][0]

    assert set_quota("--live-tasks", "5", "--bytes", "0") == {"live_tasks": 5, "size_bytes": 0}
    more = {"live_tasks": 5, "size_bytes": 0, "source_seconds_per_day": 60}
    assert set_quota("--source-seconds-per-day", "60") == more
    assert set_quota("--default", "--live-tasks", "1") == {"live_tasks": 1}
    assert set_quota("--default") is None
    assert run(args=["users", "set-quota", "ada@example.com", "--bytes", "-1"]).exit_code == 2
    assert run(args=["users", "set-quota", "bob@example.com"]).exit_code == 1
