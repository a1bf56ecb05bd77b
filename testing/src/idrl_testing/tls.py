"""Certificates of a local authority, and an nginx that ends TLS as on a worker machine."""

import datetime
import ipaddress
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from idrl_local import servers
from idrl_local.home import CHECKOUT
from idrl_testing.processes import running

_SOURCE = CHECKOUT / "worker-server" / "tls"


def write_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """Write two PEM files: a certificate, its own authority, and its key.

    Without `names`, which are DNS names and IP addresses, the certificate is that of localhost.
    """
    names = names or ("localhost",)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, key_file = folder / "certificate.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for path in (chain, key_file):
        servers.chown_to_nobody(path)
    return chain, key_file


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class TlsPorts:
    """Where the tasks service and Redis are reached with TLS, on loopback."""

    tasks: int
    redis: int


def start_script(folder: Path, certificate: tuple[Path, Path], **ports: int) -> list[str]:
    """Return the command of worker-server/tls/start.sh, at paths and ports of this machine.

    `ports` are `tasks` and `redis`, without TLS, and `tasks_tls` and `redis_tls`.
    """
    nginx = servers.find_binaries().nginx
    replaced = {
        "/etc/idrl": str(_SOURCE),
        "/etc/to_json.sed": str(CHECKOUT / "common" / "to_json.sed"),
        "/run/tls/cert.pem": str(certificate[0]),
        "/run/tls/key.pem": str(certificate[1]),
        "=5443": f"=127.0.0.1:{ports['tasks_tls']}",
        "=6380": f"=127.0.0.1:{ports['redis_tls']}",
        "tasks:5004": f"127.0.0.1:{ports['tasks']}",
        "redis:6379": f"127.0.0.1:{ports['redis']}",
        "resolver 127.0.0.11 valid=1s ipv6=off": "resolver 127.0.0.1:1",
        "/tmp/errors": str(folder / "errors"),  # noqa: S108 # not opened
        "/tmp/nginx.conf": str(folder / "nginx.conf"),  # noqa: S108 # not opened
        "exec nginx": f"exec {nginx}",
    }
    script = (_SOURCE / "start.sh").read_text()
    for old, new in replaced.items():
        assert old in script, old  # start.sh has changed
        script = script.replace(old, new)
    # The file that says its pid has a fixed name in the container.
    template = (_SOURCE / "nginx.conf.template").read_text()
    template = template.replace("/tmp/", f"{folder}/")  # noqa: S108 # text
    (folder / "nginx.conf.template").write_text(template)
    script = script.replace(f"{_SOURCE}/nginx.conf.template", f"{folder}/nginx.conf.template")
    (folder / "start.sh").write_text(script)
    servers.chown_to_nobody(folder)
    return [*servers.unprivileged(Path(shutil.which("sh") or "/bin/sh")), str(folder / "start.sh")]


@contextmanager
def worker_machine(
    folder: Path, certificate: tuple[Path, Path], *, tasks: int = 1, redis: int = 1
) -> Iterator[TlsPorts]:
    """Serve the ports of a tasks service and of a Redis with TLS, as `tls.yml` does."""
    ports = TlsPorts(servers.free_port(), servers.free_port())
    command = start_script(
        folder,
        certificate,
        tasks=tasks,
        redis=redis,
        tasks_tls=ports.tasks,
        redis_tls=ports.redis,
    )
    environment = ["TASKS_BIND=127.0.0.1", "REDIS_BIND=127.0.0.1"]
    with running(["env", *environment, *command], folder / "tls.log") as process:
        for port in (ports.tasks, ports.redis):
            servers.wait_for_port(port, process)
        yield ports
