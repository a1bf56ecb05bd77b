"""HOST: the public port listens on another address than 127.0.0.1, such as that of a network."""

import socket
from pathlib import Path

import pytest

from idrl_local import system
from idrl_local.home import Home, HomeUnusable, PortTaken, free_ports
from idrl_local.programs import WORKERS, Installation

OTHER_ADDRESS = "127.0.0.2"
# Reserved for documentation (RFC 5737): no machine has it.
NO_ADDRESS_HERE = "192.0.2.1"


def test_a_start_awaits_nginx_at_the_chosen_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, ports = Home(tmp_path / "home"), free_ports()
    home.create()
    for name in WORKERS:
        (home.run / f"{name}.ready").touch()
    monkeypatch.setattr(system, "_is_ready", lambda _: True)
    installation = Installation(home, ports, home.secrets(), {"HOST": OTHER_ADDRESS})
    assert system._not_ready(installation) == "nginx"
    with socket.create_server((OTHER_ADDRESS, ports.nginx)):
        assert system._not_ready(installation) is None


def test_the_port_has_to_be_free_at_the_chosen_address() -> None:
    ports = free_ports()
    with socket.create_server((OTHER_ADDRESS, ports.nginx)):
        ports.check_free()
        for host in (OTHER_ADDRESS, "0.0.0.0"):  # noqa: S104 # not listened on
            with pytest.raises(PortTaken, match=f"port {ports.nginx}, which nginx would use"):
                ports.check_free(host)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(HomeUnusable, match=f"HOST={NO_ADDRESS_HERE} is not an address of this"):
        free_ports().check_free(NO_ADDRESS_HERE)
