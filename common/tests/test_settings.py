"""Settings that both apps share."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import create_engine

from idrl_common.settings import AppSettings, variables_of
from idrl_testing.env_example import variables_in


def settings(**changed: object) -> AppSettings:
    return AppSettings.model_validate(
        {
            "postgres_user": "web",
            "postgres_password": "p@ss/word",
            "jwt_public_key": "key",
            **changed,
        }
    )


def test_the_database_url_survives_any_password() -> None:
    url = settings(postgres_host="db", postgres_port=5433, postgres_db="clips").database_url
    assert (url.host, url.port, url.database, url.username) == ("db", 5433, "clips", "web")
    assert url.password == "p@ss/word"
    assert "p@ss" not in str(create_engine(url).url)


def test_database_calls_have_timeouts() -> None:
    query = settings().database_url.query
    assert query["connect_timeout"] == "5"
    assert "statement_timeout=10s" in query["options"]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().log_level = "DEBUG"  # type: ignore[misc] # what must fail


def test_pem_key_in_one_line_is_split() -> None:
    assert settings(jwt_public_key="a\\nb\\n").jwt_public_key == "a\nb\n"


def test_an_error_repeats_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        settings(postgres_port="p@ss")
    assert "p@ss" not in str(caught.value)


def test_variables_have_the_names_of_fields() -> None:
    assert {"POSTGRES_HOST", "JWT_PUBLIC_KEY", "LOG_LEVEL"} < variables_of(AppSettings)


def test_variables_of_an_env_example_are_found(tmp_path: Path) -> None:
    example = tmp_path / ".env.example"
    example.write_text(
        "# A sentence, with a = b in it.\nSET=1\nEMPTY=\n# OUT=2\n#ALSO_OUT=3\n\nnot_one=4\n"
    )
    assert variables_in(example) == {"SET", "EMPTY", "OUT", "ALSO_OUT"}
