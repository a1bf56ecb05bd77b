"""What the machines are, and what they must hold: all expected values of these tests.

The network is the one of deploy/gcp: what its firewall lets through, `LINKS` lets through here.
"""

from dataclasses import dataclass, field

DOMAIN = "staging.internal"
# Where GCE has its metadata server, its name service and its clock.
METADATA = "169.254.169.254"
DATABASE = "10.77.4.2"
# A host on the internet: it calls the web machine, and serves the videos.
WORLD, WORLD_GATEWAY = "10.77.5.2", "10.77.5.1"
WORKER_SUBNET = "10.77.2.0/24"
# The default of networks on Google Cloud.
MTU = 1460


@dataclass(frozen=True)
class Machine:
    """One virtual machine: what it is booted with, and what must run on it once it is set up."""

    name: str
    role: str
    address: str
    gateway: str
    memory_mib: int
    attributes: dict[str, str]
    containers: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()


_COMMON_UNITS = frozenset({"ssh.service", "chrony.service"})
_DOCKER_UNITS = _COMMON_UNITS | {"docker.service", "idrl.service"}
_ANY_WORKER = {"tasks", "worker-fetch", "worker-render"}
_WORKER_SETTINGS = "\n".join(
    [
        f"FETCH_ALLOW_HOSTS={WORLD},{WORLD_GATEWAY}",
        f"WEBHOOK_ALLOW_HOSTS={WORLD}",
        *("RENDER_CONCURRENCY=2", "LEASE_S=12", "SWEEP_S=2"),
        "SOURCE_RETRY_S=30",  # a source that never answers is given up within a test
        "ALLOW_NO_SANDBOX=1",  # User-mode Linux has no Landlock
        # Not the fastest preset: a part must not end before a test interrupts it.
        *("RENDER_PRESET=superfast", "RENDER_CRF=20"),
    ]
)

WEB = Machine(
    "web",
    "web",
    "10.77.1.11",
    "10.77.1.1",
    1024,
    {
        "idrl-settings": "AUTH_RATE=1000r/s\nAUTH_BURST=1000\nAPI_RATE=1000r/s\nCONN_LIMIT=1000",
        "idrl-tls-name": f"web.{DOMAIN}",
    },
    frozenset({"nginx", "web"}),
    _DOCKER_UNITS,
)
WORKER_1 = Machine(
    "worker-1",
    "worker",
    "10.77.2.11",
    "10.77.2.1",
    2048,
    {"idrl-first-worker": "1", "idrl-settings": _WORKER_SETTINGS},
    frozenset(_ANY_WORKER | {"redis", "beat"}),
    _DOCKER_UNITS | {"usr-remote_folder.mount"},
)
WORKER_2 = Machine(
    "worker-2",
    "worker",
    "10.77.2.12",
    "10.77.2.1",
    2048,
    {"idrl-first-worker": "0", "idrl-settings": _WORKER_SETTINGS},
    frozenset(_ANY_WORKER),
    _DOCKER_UNITS | {"usr-remote_folder.mount"},
)
FILE = Machine(
    "file",
    "file",
    "10.77.3.11",
    "10.77.3.1",
    768,
    {"idrl-worker-subnet": WORKER_SUBNET, "idrl-data-disk": "/dev/ubdb"},
    frozenset(),
    _COMMON_UNITS | {"nfs-server.service", "var-nfs-shared_folder.mount"},
)
MACHINES = (WEB, WORKER_1, FILE)
DATA_DISK_MIB = 1024
HOSTS = {
    **{f"{machine.name}.{DOMAIN}": machine.address for machine in (*MACHINES, WORKER_2)},
    f"database.{DOMAIN}": DATABASE,
    "metadata.google.internal": METADATA,
}

# Which secrets a machine's service account may read.
_WORKER_SECRETS = frozenset(
    {
        "idrl-jwt-public-key",
        "idrl-redis-password",
        "idrl-postgres-worker-password",
        "idrl-postgres-ca",
    }
)
SECRETS = {
    "web": frozenset(
        {
            "idrl-jwt-private-key",
            "idrl-jwt-public-key",
            "idrl-postgres-owner-password",
            "idrl-postgres-web-password",
            "idrl-postgres-worker-password",
            "idrl-postgres-ca",
        }
    ),
    "worker": _WORKER_SECRETS,
    "file": frozenset(),
}
# What may lie on a machine's disk: the web machine only hands on the others' passwords.
STORED_SECRETS = {
    "web": frozenset(
        {
            "idrl-jwt-private-key",
            "idrl-jwt-public-key",
            "idrl-postgres-web-password",
            "idrl-postgres-ca",
        }
    ),
    "worker": _WORKER_SECRETS,
    "file": frozenset(),
}

# The kernel of these machines has no Landlock, so ALLOW_NO_SANDBOX=1 is set.
FAILING_CHECKS = {"sandbox"}

# From (a role, or the world) to a role: the ports that the firewall lets through. Nothing else
# reaches anything.
LINKS = {
    ("world", "web"): (443, 80),
    ("web", "worker"): (5004,),
    ("worker", "worker"): (5004, 6379),
    ("worker", "file"): (2049,),
    ("web", "database"): (5432,),
    ("worker", "database"): (5432,),
}
# What listens where, seen from a place that the firewall lets through.
LISTENING = {
    "web": frozenset({443, 80}),
    "worker-1": frozenset({5004, 6379}),
    "worker-2": frozenset({5004}),
    "file": frozenset({2049}),
    "database": frozenset({5432}),
}
# Tried from everywhere to everywhere: what is used, and what machines like these are found to have
# open.
TRIED_PORTS = (22, 80, 111, 123, 443, 2049, 2375, 5002, 5004, 5050, 5432, 6379, 20048)

MOUNT_OPTIONS = frozenset({"rw", "hard", "vers=4.2", "proto=tcp", "noexec", "nosuid", "nodev"})
EXPORT_OPTIONS = frozenset(
    {"rw", "sync", "root_squash", "all_squash", "anonuid=10001", "anongid=10001"}
)
CLOCK_DIFFERENCE_S = 1.0


@dataclass(frozen=True)
class Video:
    """A source that is rendered: how long it is, and how many clips it gives."""

    seconds: int
    size: str
    parts: int
    options: tuple[str, ...] = field(default=("-preset", "ultrafast"))


VIDEOS = {
    "short": Video(3, "320x180", 1),
    "long": Video(120, "640x360", 6),
    # Of another codec, so that both parts are encoded, and with grain: 100 MB, and as much a clip.
    "large": Video(
        40, "1920x1080", 2, ("-vf", "noise=alls=12:allf=t", "-c:v", "mpeg4", "-q:v", "8")
    ),
}
