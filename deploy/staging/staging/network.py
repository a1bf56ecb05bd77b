"""The network: a router of machines, database and world, with the firewall of deploy/gcp.

All of it lives in the network namespace that the tests run in, and ends with it. As on GCE the
machines have no network of their own to meet in: each is alone behind its tap, with an address of
/32, and everything passes the router.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path

import expected
from expected import DATABASE, METADATA, WORLD, WORLD_GATEWAY, Machine

_NAMESPACE = "world"
# Of each role's machines, of the database, and of the host that represents the internet.
_SUBNETS = {
    "web": "10.77.1.0/24",
    "worker": expected.WORKER_SUBNET,
    "file": "10.77.3.0/24",
    "world": f"{WORLD}/32",
    "database": f"{DATABASE}/32",
}


class NetworkFailed(Exception):
    """A command of this host failed; the message ends with what it printed."""


def run(*command: str) -> None:
    """Run a program of this host."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NetworkFailed(f"{' '.join(command)}: {done.stderr}")


def _iptables(*arguments: str) -> None:
    run("iptables", "--wait", *arguments)


@dataclass
class Network:
    """The router; machines are attached to it, and the links between them are cut and restored."""

    folder: Path
    _attached: set[str] = field(default_factory=set)

    def create(self) -> None:
        """Make the router's own interfaces, the world, and the rules."""
        run("ip", "link", "set", "lo", "up")
        for address in (METADATA, DATABASE):
            run("ip", "address", "add", f"{address}/32", "dev", "lo")
        settings = {
            "ip_forward": 1,
            "conf/all/rp_filter": 1,
            "conf/all/send_redirects": 0,
            "conf/default/send_redirects": 0,
        }
        for name, value in settings.items():
            Path(f"/proc/sys/net/ipv4/{name}").write_text(str(value))
        self._make_world()
        self._make_rules()

    def attach(self, machine: Machine) -> str:
        """Return the tap of a machine, made now unless it is there."""
        tap = f"tap-{machine.name}"
        if tap not in self._attached:
            run("ip", "tuntap", "add", tap, "mode", "tap")
            run("ip", "address", "add", f"{machine.gateway}/32", "dev", tap)
            run("ip", "link", "set", tap, "mtu", str(expected.MTU), "up")
            run("ip", "route", "add", f"{machine.address}/32", "dev", tap, "src", machine.gateway)
            self._attached.add(tap)
        return tap

    @contextmanager
    def cut(self, some: Machine, others: Machine) -> Iterator[None]:
        """Drop every packet between two machines, also those of existing connections."""
        rules = [(a.address, b.address) for a, b in ((some, others), (others, some))]
        for source, target in rules:
            _iptables(
                "--insert", "FORWARD", "--source", source, "--destination", target, "--jump", "DROP"
            )
        try:
            yield
        finally:
            for source, target in rules:
                _iptables(
                    "--delete",
                    "FORWARD",
                    "--source",
                    source,
                    "--destination",
                    target,
                    "--jump",
                    "DROP",
                )

    def on_an_outside_host(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs this one on a host outside."""
        return ["ip", "netns", "exec", _NAMESPACE, *command]

    def _make_world(self) -> None:
        run("ip", "netns", "add", _NAMESPACE)
        run(
            "ip",
            "link",
            "add",
            "to-world",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            _NAMESPACE,
        )
        run("ip", "address", "add", str(ip_interface(f"{WORLD_GATEWAY}/30")), "dev", "to-world")
        run("ip", "link", "set", "to-world", "up")
        for command in (
            ("address", "add", f"{WORLD}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", WORLD_GATEWAY),
        ):
            run("ip", "-n", _NAMESPACE, *command)

    def _make_rules(self) -> None:
        # As some hosts of the internet do: senders of too large packets get no ICMP reply.
        _iptables(
            *("--append", "OUTPUT", "--protocol", "icmp"),
            *("--icmp-type", "fragmentation-needed", "--jump", "DROP"),
        )
        for chain in ("INPUT", "FORWARD"):
            _iptables("--policy", chain, "DROP")
            _iptables(
                "--append",
                chain,
                "--match",
                "conntrack",
                "--ctstate",
                "ESTABLISHED,RELATED",
                "--jump",
                "ACCEPT",
            )
        _iptables("--append", "INPUT", "--in-interface", "lo", "--jump", "ACCEPT")
        for (source, target), ports in expected.LINKS.items():
            chain = "INPUT" if target == "database" else "FORWARD"
            for port in ports:
                self._allow(chain, _SUBNETS[source], _SUBNETS[target], "tcp", port)
        for role in ("web", "worker", "file"):
            # The metadata server, its name service and its clock.
            for protocol, port in (("tcp", 80), ("tcp", 53), ("udp", 53), ("udp", 123)):
                self._allow("INPUT", _SUBNETS[role], f"{METADATA}/32", protocol, port)
        self._allow("INPUT", _SUBNETS["web"], f"{METADATA}/32", "tcp", 14000)
        # Workers download from anywhere.
        for chain, host in (("FORWARD", WORLD), ("INPUT", WORLD_GATEWAY)):
            self._allow(chain, _SUBNETS["worker"], f"{host}/32", "tcp", None)

    @staticmethod
    def _allow(chain: str, source: str, target: str, protocol: str, port: int | None) -> None:
        ports = ("--dport", str(port)) if port else ()
        between = ("--source", source, "--destination", target)
        _iptables("--append", chain, *between, "--protocol", protocol, *ports, "--jump", "ACCEPT")
