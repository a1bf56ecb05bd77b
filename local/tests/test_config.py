import subprocess
import sys
from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from idrl_local import config, programs, settings_check
from idrl_local.home import Home, HomeUnusable, Ports
from idrl_local.programs import PROGRAMS, Installation, empty_metrics_folder


@pytest.fixture
def installation(tmp_path: Path, short_folder: Path) -> Installation:
    """An installation whose path has spaces, quotes, % and other characters that need escaping."""
    home = Home(tmp_path / 'o\'bri%en; "x" #é')
    home.create()
    assert home.socket.is_relative_to(tmp_path) or home.socket.is_relative_to(short_folder)
    return Installation(home, Ports.starting_at(5050), home.secrets(), {})


def environment_of(name: str, installation: Installation) -> dict[str, str]:
    return next(program for program in PROGRAMS if program.name == name).environment(installation)


def command_of(name: str, installation: Installation) -> list[str]:
    return next(program for program in PROGRAMS if program.name == name).command(installation)


def test_supervisord_reads_what_was_written(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(installation.home.root)
    options = ServerOptions()
    options.realize(["-c", str(config.write_supervisord(installation.home))])
    processes = {
        process.name: process
        for group in options.process_group_configs
        for process in group.process_configs
    }
    assert set(processes) == {program.name for program in PROGRAMS}
    assert processes["web"].stdout_logfile == "logs/web.log"
    assert processes["web"].command.endswith("-m idrl_local exec web'")
    assert not any(process.autostart for process in processes.values())
    assert not any(process.stopasgroup for process in processes.values())
    assert all(process.killasgroup for process in processes.values())


def test_no_secret_is_in_what_is_written(installation: Installation) -> None:
    config.write_supervisord(installation.home)
    config.write_nginx(installation)
    text = "".join(path.read_text() for path in installation.home.run.glob("*.conf"))
    for secret in vars(installation.secrets).values():
        assert secret not in text


def test_services_stop_before_the_stores(installation: Installation) -> None:
    parser = RawConfigParser()
    parser.read(config.write_supervisord(installation.home))
    assert parser.getint("group:stores", "priority") < parser.getint("group:services", "priority")


def test_only_the_web_app_holds_the_private_key(installation: Installation) -> None:
    holders = {
        program.name
        for program in PROGRAMS
        if "JWT_PRIVATE_KEY" in program.environment(installation)
    }
    assert holders == {"web"}
    private = installation.secrets.jwt_private_key.replace("\n", "\\n")
    assert environment_of("web", installation)["JWT_PRIVATE_KEY"] == private
    for name in ("tasks", "fetch", "render", "sweep"):
        assert environment_of(name, installation)["POSTGRES_USER"] == "worker"
        assert (
            installation.secrets.web_db_password not in environment_of(name, installation).values()
        )


def test_nothing_of_the_callers_secrets_and_addresses_is_inherited() -> None:
    for name in (
        "PGHOSTADDR",
        "POSTGRES_HOST",
        "JWT_PRIVATE_KEY",
        "REDIS_URL",
        "TASKS_URL",
        "WEB_DB_PASSWORD",
        "CELERY_BROKER_URL",
        "GUNICORN_CMD_ARGS",
        "FLASK_DEBUG",
    ):
        assert not programs.is_passed_on(name)
    for name in ("FETCH_ALLOW_HOSTS", "RENDER_CRF", "PATH", "LOG_LEVEL", "LEASE_S"):
        assert programs.is_passed_on(name)


@pytest.mark.parametrize("name", ["LOGO_PATH", "TLS_CERT", "TLS_KEY", "SCRATCH_FOLDER"])
def test_path_is_that_of_the_callers_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = settings_check.with_absolute_paths({name: "a folder/x", "PATH": "/bin"})
    assert environment == {name: str(tmp_path / "a folder" / "x"), "PATH": "/bin"}


def test_file_of_settings_in_the_checkout_changes_no_process(
    installation: Installation, tmp_path: Path
) -> None:
    """Such a file is docker-compose's, with paths inside of containers."""
    (tmp_path / ".env").write_text("LOGO_PATH=/logo/ours.png\nREDIS_CA=/run/ca.pem\n")
    code = f"import dotenv, os; dotenv.load_dotenv({str(tmp_path / '.env')!r}); print(*os.environ)"
    for program in PROGRAMS:
        environment = programs.environment_of(program, installation)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert not {"LOGO_PATH", "REDIS_CA"} & set(done.stdout.split())


def test_metric_files_of_an_earlier_run_are_removed(installation: Installation) -> None:
    environment = environment_of("tasks", installation)
    folder = Path(environment["PROMETHEUS_MULTIPROC_DIR"])
    folder.mkdir()
    (folder / "old.db").touch()
    empty_metrics_folder(environment)
    assert list(folder.iterdir()) == []


def test_concurrency_is_read_from_the_environment(installation: Installation) -> None:
    chosen = Installation(
        installation.home,
        installation.ports,
        installation.secrets,
        {"RENDER_CONCURRENCY": "7", "FETCH_CONCURRENCY": ""},
    )
    assert command_of("render", chosen)[-2:] == ["-c", "7"]
    assert command_of("fetch", chosen)[-2:] == ["-c", "4"]


def test_no_tls_without_a_certificate(installation: Installation) -> None:
    config.write_nginx(installation)
    text = (installation.home.run / "nginx.conf").read_text()
    assert f"listen 127.0.0.1:{installation.ports.nginx} backlog" in text
    assert "ssl_certificate" not in text
    assert installation.url.startswith("http://")


def test_certificate_is_copied_for_the_user_of_nginx(
    installation: Installation, certificate: tuple[Path, Path]
) -> None:
    chain, key = map(str, certificate)
    chosen = replace(installation, environment={"TLS_CERT": chain, "TLS_KEY": key})
    for _ in range(2):
        config.write_nginx(chosen)
    text = (installation.home.run / "nginx.conf").read_text()
    assert f"listen 127.0.0.1:{installation.ports.nginx} ssl" in text
    assert (
        "ssl_certificate nginx/tls-certificate.pem; ssl_certificate_key nginx/tls-key.pem;" in text
    )
    copy = installation.home.run / "nginx" / "tls-key.pem"
    assert copy.read_bytes() == certificate[1].read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert chosen.url == f"https://127.0.0.1:{installation.ports.nginx}"


def test_unusable_certificate_is_refused_before_the_start(
    installation: Installation, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = map(str, certificate)
    for given, message in (
        ({"TLS_CERT": chain}, "belong together"),
        ({"TLS_KEY": key}, "belong together"),
        ({"TLS_CERT": chain, "TLS_KEY": str(tmp_path / "none")}, "TLS_KEY names"),
        ({"TLS_CERT": str(tmp_path), "TLS_KEY": key}, "TLS_CERT names"),
        ({"TLS_CERT": key, "TLS_KEY": chain}, "are not a certificate and its key"),
    ):
        with pytest.raises(HomeUnusable, match=message):
            config.write_nginx(replace(installation, environment=given))


def test_the_rate_of_log_ins_can_be_set(installation: Installation) -> None:
    chosen = replace(installation, environment={"AUTH_RATE": "3r/s", "AUTH_BURST": "8"})
    config.write_nginx(chosen)
    text = (installation.home.run / "nginx.conf").read_text()
    assert "rate=3r/s;" in text
    assert "burst=8 nodelay;" in text
    assert "${" not in text
