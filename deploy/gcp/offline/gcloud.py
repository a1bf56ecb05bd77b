"""`gcloud` and `curl` for the dry run of the scripts: the commands that they use, on a `Cloud`.

Which options exist is checked elsewhere, by gcloud itself; here it counts what a command does.
"""

import fnmatch
import hashlib
import os
import re
import signal
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.gcp.offline.cloud import Cloud, Project, Refused, step

_APIS = {
    "secrets": "secretmanager",
    "compute": "compute",
    "sql": "sqladmin",
    "iam": "iam",
    "storage": "storage",
    "builds": "cloudbuild",
    "artifacts": "artifactregistry",
}
_CHANGES = ("enable", "create", "update", "add", "delete", "patch", "cp", "rm", "ssh", "submit")


def option(words: list[str], name: str) -> str:
    return next((w.partition("=")[2] for w in words if w.startswith(f"--{name}=")), "")


def _named(resources: list[dict[str, Any]], words: list[str]) -> str:
    """Return the names of those that --filter wants: `name=NAME`, or `name~PATTERN`."""
    given = option(words, "filter") or "name~."
    _, sign, wanted = re.split("([=~])", given, maxsplit=1)
    fits = re.search if sign == "~" else re.fullmatch
    return "\n".join(each["name"] for each in resources if fits(wanted, each["name"]))


def run(project: Project, words: list[str], stdin: str) -> str:
    """Execute a command, and return its output."""
    plain = [word for word in words if not word.startswith("--")]
    if plain[0] == "services":
        for name in plain[2:]:
            project.enable(name.removesuffix(".googleapis.com"))
        return ""
    project.need_api(_APIS[plain[0]])
    handlers = {
        "secrets": _secrets,
        "storage": _storage,
        "sql": _sql,
        "compute": _compute,
        "builds": _builds,
        "artifacts": _artifacts,
    }
    if plain[0] not in handlers:
        return ""
    return handlers[plain[0]](project, plain[1:], words, stdin)


def _secrets(project: Project, plain: list[str], words: list[str], stdin: str) -> str:
    match plain:
        case ["list"]:
            return "\n".join(project.secrets)
        case ["create", name]:
            project.need_location(option(words, "locations"))
            project.secrets[name] = []
        case ["delete", name]:
            del project.secrets[name]
        case ["versions", "add", name]:
            project.add_secret(name, stdin)
        case ["versions", "list", name] if "createTime" in option(words, "format"):
            return project.secret_times[name]
        case ["versions", "list", name]:
            return "\n".join(str(n + 1) for n in range(len(project.secrets[name])))[-1:]
        case ["versions", "access", "latest"]:
            versions = project.secrets.get(option(words, "secret"))
            if not versions:
                raise Refused("NOT_FOUND: Secret not found or has no versions")
            return versions[-1]
    return ""


def _storage(project: Project, plain: list[str], words: list[str], stdin: str) -> str:
    match plain:
        case ["buckets", "list"]:
            return "\n".join(project.buckets)
        case ["buckets", "create", url]:
            project.need_location(option(words, "location"))
            project.buckets.append(url.removeprefix("gs://"))
        case ["ls", pattern]:
            _need_bucket(project, pattern)
            urls = [url for url in _objects(project) if url.startswith(pattern[:-2])]
            if not urls:
                raise Refused("One or more URLs matched no objects.")
            return "\n".join(urls)
        case ["cat", url]:
            return project.objects[url]
        case ["cp", source, url]:
            _need_bucket(project, url)
            if "--no-clobber" not in words or url not in project.objects:
                text = stdin if source == "-" else f"sha256 of {Path(source).name}"
                project.objects[url] = project.objects.get(source, text)
                _need_images(project, project.objects[url])
        case ["rm", url]:
            project.buckets.remove(url.removeprefix("gs://"))
            project.objects = {u: t for u, t in project.objects.items() if not u.startswith(url)}
            _state_file(url).unlink(missing_ok=True)
    return ""


def _need_images(project: Project, text: str) -> None:
    """Refuse to name a release whose images are not in the registry."""
    for line in text.splitlines():
        if line.startswith("image_") and line.partition("@")[2] not in project.images.values():
            raise Refused(f"machines could not pull {line}")


def _builds(project: Project, _plain: list[str], words: list[str], _: str) -> str:
    if project.no_builds:
        raise Refused("FAILED_PRECONDITION: Cloud Build cannot run builds in this region")
    substitutions = dict(pair.split("=") for pair in option(words, "substitutions").split(","))
    if words[2] not in project.objects:
        raise Refused(f"{words[2]} not found: 404")
    for kind in ("google_artifact_registry_repository", "google_service_account"):
        if f"{kind}/idrl{'-build' if kind.endswith('account') else ''}" not in project.resources:
            raise Refused(f"PERMISSION_DENIED: there is no {kind} to build with")
    for image in ("web", "worker", "psg", "certbot"):
        name = f"{substitutions['_REGISTRY']}/{image}:{substitutions['_REVISION']}"
        # Two builds of one commit differ in some bytes.
        digest = hashlib.sha256(f"{name} {project.number()}".encode()).hexdigest()
        project.images[name] = f"sha256:{digest}"
    return ""


def _artifacts(project: Project, plain: list[str], words: list[str], _: str) -> str:
    revision = option(words, "filter").removeprefix("tag~/").removesuffix("$")
    return project.images.get(f"{plain[3]}:{revision}", "")


def _need_bucket(project: Project, url: str) -> None:
    if url.removeprefix("gs://").partition("/")[0] not in project.buckets:
        raise Refused(f"{url} not found: 404")


def _state_file(url: str) -> Path:
    bucket = url.removeprefix("gs://").partition("/")[0]
    return Path(os.environ["IDRL_CLOUD"]) / "states" / f"{bucket}.tfstate"


def _objects(project: Project) -> list[str]:
    states = (Path(os.environ["IDRL_CLOUD"]) / "states").glob("*.tfstate")
    return [*project.objects, *(f"gs://{s.stem}/idrl/default.tfstate" for s in states)]


def _sql(project: Project, plain: list[str], words: list[str], _: str) -> str:
    match plain:
        case ["instances", "list"]:
            return _named(project.of_kind("google_sql_database_instance"), words)
        case ["instances", "patch", name]:
            instance = project.resources[f"google_sql_database_instance/{name}"]
            instance["settings"][0]["deletion_protection_enabled"] = False
    return ""


def _compute(project: Project, plain: list[str], words: list[str], _: str) -> str:
    match plain:
        case ["networks", "list"]:
            return _named(project.of_kind("google_compute_network"), words)
        case ["networks", "peerings", "list"]:
            network = option(words, "network")
            return "servicenetworking-googleapis-com" if network in project.peerings else ""
        case ["networks", "peerings", "delete", _]:
            network = option(words, "network")
            databases = project.of_kind("google_sql_database_instance")
            if network in [database["name"] for database in databases]:
                raise Refused("a database uses the peering")
            del project.peerings[network]
            project.cut_networks.append(network)
        case ["instances", "list"]:
            return "some-zone" if "google_compute_instance/idrl-file" in project.resources else ""
        case ["instances", "update", name]:
            project.resources[f"google_compute_instance/{name}"]["deletion_protection"] = False
        case ["instance-groups", "managed", "list-instances", _]:
            return "\n".join(fnmatch.filter(project.machines, "idrl-extra-worker-*"))
        case ["ssh", name]:
            return _ssh(project, name, option(words, "command"))
    return ""


def _ssh(project: Project, name: str, command: str) -> str:
    if name not in project.machines:
        raise Refused(f"Could not fetch resource: {name} was not found")
    machine = project.machines[name]
    if "provision/revision" in command:
        if not machine["answers"]:
            raise Refused("curl: (7) Failed to connect to 127.0.0.1 port 5004")
        return str(machine["revision"])
    if project.idle_ssh or "journalctl" in command:
        return ""
    if "--only-migrate" in command:
        release = "next" if "--release=next" in command else "current"
        project.migrate(project.current_release(release))
    else:
        project.provision(name)
    return ""


def ready(project: Project) -> bool:
    machines = project.machines
    return {"idrl-web", "idrl-worker", "idrl-file"} <= set(machines) and all(
        machine["answers"] and machine["revision"] in project.schemas
        for machine in machines.values()
    )


def label_of(words: list[str]) -> str:
    """Return the name of a step: the command without values that differ from run to run."""
    plain = [word for word in words if not word.startswith("--") and word != "-"]
    command = option(words, "command")
    extra = "migrate" if "--only-migrate" in command else ""
    ends = [Path(word).name if "/" in word else word for word in plain]
    kept = [word for word in ends if not word.endswith((".tar.gz", ".googleapis.com"))]
    return " ".join([*kept, extra]).strip()


def answer(cloud: Cloud, arguments: list[str], stdin: str) -> tuple[int, str, bool]:
    """Do `gcloud …`, or `curl … URL` where that comes first.

    Return the exit code, what is printed, and whether the script that called is to be killed now.
    """
    if arguments[0] == "curl":
        return (0 if ready(cloud.read()) else 22), "", False
    words = arguments[1:]
    changes = any(word in _CHANGES for word in words) and "provision/revision" not in " ".join(
        words
    )
    try:
        with cloud.change() as project:
            project.need_permission(label_of(words))
            printed = run(project, words, stdin)
            ends = changes and step(project, label_of(words))
    except Refused as refused:
        return 1, f"ERROR: (gcloud.{words[0]}) {refused}\n", False
    return 0, f"{printed}\n" if printed else "", ends


class _Call(socketserver.StreamRequestHandler):
    """One call of a client: its process group, the words of the command, and standard input."""

    def handle(self) -> None:
        group, count = (int(self._field()) for _ in range(2))
        arguments = [self._field() for _ in range(count)]
        code, printed, ends = answer(_cloud(), arguments, self._field())
        if ends:
            # The script that called and all that it started, as a power cut does.
            os.killpg(group, signal.SIGKILL)
        self.wfile.write(f"{code}\n{printed}".encode())

    def _field(self) -> str:
        field = bytearray()
        while (byte := self.rfile.read(1)) != b"\0":
            field += byte
        return field.decode()


def _cloud() -> Cloud:
    return Cloud(Path(os.environ["IDRL_CLOUD"]))


# Installed as the programs that deployment scripts run: bash, since Python would take longer to
# start than the call takes.
_CLIENT = """#!/bin/bash
read -r _ _ _ _ group _ </proc/$$/stat
stdin=
case " $* " in *" - "* | *" --data-file=- "*) IFS= read -r -d '' stdin ;; esac
exec 3<>/dev/tcp/127.0.0.1/{port}
printf '%s\\0' "$group" "$(($# + 1))" {name} "$@" "$stdin" >&3
read -r code <&3
IFS= read -r -d '' printed <&3
if [ "$code" = 0 ]; then printf %s "$printed"; else printf %s "$printed" >&2; fi
exit "$code"
"""


@contextmanager
def served() -> Iterator[dict[str, str]]:
    """Serve the commands, and yield the texts of the programs `gcloud` and `curl` that call."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Call) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        yield {name: _CLIENT.format(port=port, name=name) for name in ("gcloud", "curl")}
        server.shutdown()
