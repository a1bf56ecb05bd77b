"""Writes what the servers read: the configurations of nginx and supervisord."""

from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path
from string import Template

from idrl_local import listeners, servers, tls
from idrl_local.home import CHECKOUT, Home, Ports
from idrl_local.programs import PROGRAMS, Installation, Program, host_of

NGINX_TEMPLATE = CHECKOUT / "web-server" / "nginx" / "nginx.conf.template"
# The template's variables that the caller may set, and their defaults.
LIMITS = {
    "AUTH_RATE": "10r/s",
    "AUTH_BURST": "50",
    "API_RATE": "100r/s",
    "API_BURST": "400",
    "CONN_LIMIT": "200",
    "CLIP_CACHE_SIZE": "1g",
}
# Rate limits that no burst of calls from one address reaches: for tests and benchmarks.
RATE_LIMITS_OFF = {
    "AUTH_RATE": "1000r/s",
    "AUTH_BURST": "1000",
    "API_RATE": "100000r/s",
    "API_BURST": "100000",
    "CONN_LIMIT": "10000",
}
# Relative to the folder of nginx.conf.
_TLS = f"ssl_certificate nginx/{tls.CERTIFICATE}; ssl_certificate_key nginx/{tls.KEY};"
# Environment variable with the path of our Python, for supervisord's children.
PYTHON = "IDRL_PYTHON"


def nginx_variables(ports: Ports, environment: Mapping[str, str]) -> dict[str, str]:
    """Return every variable of the template, for services at fixed addresses on loopback.

    With `TLS_CERT` the port speaks HTTPS, and redirects callers who speak HTTP to it.
    """
    has_tls = bool(environment.get("TLS_CERT"))
    limits = {name: environment.get(name) or default for name, default in LIMITS.items()}
    bodies = -(-int(limits["CONN_LIMIT"]) // 8)  # an eighth, as in the container's start.sh
    upstreams = {"web": ports.web, "tasks": ports.tasks}
    blocks = (
        f"upstream {name} {{ server 127.0.0.1:{port}; keepalive 16; }}"
        for name, port in upstreams.items()
    )
    return {
        "NGINX_LISTEN": f"{host_of(environment)}:{ports.nginx}{' ssl' if has_tls else ''}",
        "NGINX_TLS": _TLS if has_tls else "",
        "NGINX_TEMP": ".",
        "NGINX_ACCESS_LOG": "/dev/stdout",
        "NGINX_UPSTREAMS": "\n    ".join([*blocks, _sample_server(ports)]),
        "WEB_UPSTREAM": "web",
        "TASKS_UPSTREAM": "tasks",
        "TASKS_SCHEME": "http",
        "TASKS_TLS": "",
        "METRICS_ALLOWED": "",  # the apps' own ports answer on this machine
        "CLIP_CACHE_FOLDER": "clips",
        **limits,
        "BODY_LIMIT": str(bodies),
    }


def _sample_server(ports: Ports) -> str:
    """Return the server of the sample, whose folder is two above nginx's own, in the home."""
    return (
        f"server {{ listen 127.0.0.1:{ports.sample}; root ../../sample;"
        " access_log off; location = /sample.mp4 { types { video/mp4 mp4; } }"
        " location / { return 404; } }"
    )


def write_nginx(installation: Installation) -> None:
    """Write nginx.conf and create the folder that its paths are relative to."""
    folder = installation.home.run / "nginx"
    folder.mkdir(exist_ok=True)
    servers.chown_to_nobody(folder)
    tls.install(installation.environment, folder)
    variables = nginx_variables(installation.ports, installation.environment)
    text = Template(NGINX_TEMPLATE.read_text()).safe_substitute(variables)
    (installation.home.run / "nginx.conf").write_text(text)


def write_supervisord(home: Home) -> Path:
    """Write supervisord.conf and return its path.

    Its paths are relative to the home, where supervisord is started: a folder's name may hold what
    the file's syntax gives a meaning to.
    """
    config = RawConfigParser()
    config["unix_http_server"] = {"file": home.socket_from_home, "chmod": "0700"}
    factory = "supervisor.rpcinterface:make_main_rpcinterface"
    config["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": factory}
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "logfile": "logs/supervisord.log",
        "logfile_maxbytes": "5MB",
        "logfile_backups": "1",
        "pidfile": "run/supervisord.pid",
        "minfds": str(listeners.MIN_FD),
    }
    for priority, group in enumerate(dict.fromkeys(program.group for program in PROGRAMS)):
        names = [program.name for program in PROGRAMS if program.group == group]
        config[f"group:{group}"] = {"programs": ",".join(names), "priority": str(priority)}
    for program in PROGRAMS:
        config[f"program:{program.name}"] = _section(program)
    path = home.run / "supervisord.conf"
    with path.open("w") as file:
        config.write(file)
    return path


def _section(program: Program) -> dict[str, str]:
    return {
        "command": f"""sh -c 'exec "${PYTHON}" -m idrl_local exec {program.name}'""",
        # `up` starts each program once its dependencies answer; supervisord restarts what ends.
        "autostart": "false",
        "autorestart": "true",
        "startsecs": "5",
        # Each attempt is a second later than the one before. A disk may be full for a weekend.
        "startretries": "1000000",
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(program.stop_wait_s),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": f"logs/{program.name}.log",
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": "2",
    }
