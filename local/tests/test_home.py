import socket
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from idrl_local.home import Home, HomeUnusable, Ports, PortTaken, free_ports, port_from_environment


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home at its first start."""
    home = Home(tmp_path / "idrl")
    home.create()
    return home


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.from_environment({"IDRL_HOME": "here"}).root == tmp_path / "here"
    assert Home.from_environment({"IDRL_HOME": ""}).root.name == ".idrl"


def test_a_home_is_closed_to_others(home: Home) -> None:
    home.secrets()
    assert mode_of(home.root) == 0o700
    assert mode_of(home.secrets_file) == 0o600


def test_secrets_are_made_once(home: Home) -> None:
    assert home.secrets() == home.secrets()


def test_two_homes_share_no_secret(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.create()
    assert set(vars(home.secrets()).values()).isdisjoint(vars(other.secrets()).values())


def test_the_key_pair_fits(home: Home) -> None:
    secrets = home.secrets()
    private = load_pem_private_key(secrets.jwt_private_key.encode(), None)
    assert private.public_key() == load_pem_public_key(secrets.jwt_public_key.encode())


def test_lost_secrets_are_an_error_and_not_replaced(home: Home) -> None:
    (home.data / "postgres").mkdir()
    with pytest.raises(HomeUnusable, match=r"secrets\.env is missing"):
        home.secrets()


@pytest.mark.parametrize(
    "second", ["", "WEB_DB_PASSWORD", "WEB_DB_PASSWORD=", 'WEB_DB_PASSWORD=""']
)
def test_incomplete_secrets_are_an_error(home: Home, second: str) -> None:
    home.secrets_file.write_text(f"POSTGRES_PASSWORD=x\n{second}\nWORKER_DB_PASSWORD=x\n")
    with pytest.raises(HomeUnusable, match="does not set WEB_DB_PASSWORD"):
        home.secrets()


def test_socket_of_a_long_path_is_in_a_private_temporary_folder(
    tmp_path: Path, short_folder: Path
) -> None:
    deep = Home(tmp_path / ("d" * 60) / ("e" * 60))
    assert len(str(deep.socket)) < 100
    assert mode_of(deep.socket.parent) == 0o700
    assert deep.socket == deep.socket
    deep.socket.touch()
    deep.remove_socket()
    assert list(short_folder.iterdir()) == []
    assert deep.socket != Home(tmp_path / ("d" * 60) / ("f" * 60)).socket


@pytest.mark.usefixtures("short_folder")
def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("g" * 60) / ("h" * 60))
    deep.socket.parent.chmod(0o777)
    with pytest.raises(HomeUnusable, match="is not ours alone"):
        _ = deep.socket


@pytest.mark.parametrize(
    ("given", "port"), [({}, 5050), ({"PORT": ""}, 5050), ({"PORT": "6000"}, 6000)]
)
def test_port_is_read_from_the_environment(given: dict[str, str], port: int) -> None:
    assert port_from_environment(given) == port


@pytest.mark.parametrize("given", ["x", "-1", "5050.0", "\u0665"])
def test_port_has_to_be_a_number(given: str) -> None:
    with pytest.raises(HomeUnusable, match="PORT must be a whole number"):
        port_from_environment({"PORT": given})


@pytest.mark.parametrize("first", [0, 80, 65535, 99999])
def test_ports_out_of_range_are_refused(first: int) -> None:
    with pytest.raises(HomeUnusable, match="PORT must be from 1024"):
        Ports.starting_at(first)


def test_ports_are_six_consecutive_numbers() -> None:
    assert Ports.starting_at(5050) == Ports(
        nginx=5050, web=5051, tasks=5052, postgres=5053, redis=5054, sample=5055
    )


def test_a_taken_port_is_named_with_who_would_use_it() -> None:
    ports = free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports.postgres))
        other.listen()
        with pytest.raises(
            PortTaken, match=f"port {ports.postgres}, which postgres would use, is taken"
        ):
            ports.check_free()
    ports.check_free()
