"""A project of Google Cloud in a folder, as far as the scripts of deploy/gcp can tell it from one.

It keeps what was made, and refuses what Google refuses: calls before a service is turned on, rights
for an account that is not known yet, a template in use, a network with a connection, a protected
database, a smaller disk. It can fail at any step, once: each run ends at the first step that no run
before has reached.
"""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = dict[str, Any]
# How many calls are refused after a service is turned on, and grants after an account is made.
_CALLS_TOO_EARLY = 2
_GRANTS_TOO_EARLY = 1


class Refused(Exception):
    """What Google answers instead; the message is the part of it that people search for."""


@dataclass
class Project:
    """Everything that exists. Resources by their kind and name, objects by their address."""

    apis: dict[str, int] = field(default_factory=dict)
    resources: dict[str, Values] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    buckets: list[str] = field(default_factory=list)
    # Of the registry: the digest of each image by its name and tag.
    images: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, list[str]] = field(default_factory=dict)
    # When the newest version of each was made.
    secret_times: dict[str, str] = field(default_factory=dict)
    # What the database takes as its owner's password.
    owner_password: str | None = None
    fresh_accounts: dict[str, int] = field(default_factory=dict)
    # Networks whose connection to a database was cut: Google remembers their names for days.
    cut_networks: list[str] = field(default_factory=list)
    peerings: dict[str, list[str]] = field(default_factory=dict)
    machines: dict[str, Values] = field(default_factory=dict)
    # The template that each further worker machine was made from.
    templates: dict[str, str] = field(default_factory=dict)
    schemas: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    # What happened: each step with the workers that answered while it was made.
    log: list[str] = field(default_factory=list)
    fewest_workers: int | None = None
    made: int = 0
    # Steps that a run has ended at; None where no run is to be ended.
    ended_at: list[str] | None = None
    broken: bool = False
    # Steps that Terraform is killed at, each once: before the change, or when it is made but
    # Terraform has not heard of it.
    killed_before: list[str] = field(default_factory=list)
    killed_after: list[str] = field(default_factory=list)
    # How often each step is still refused, as by a right that was taken away.
    refused: dict[str, int] = field(default_factory=dict)
    # ssh does nothing and exits with 0, as when the metadata server returns an empty script.
    idle_ssh: bool = False
    # The one region that an organization's policy `gcp.resourceLocations` allows; None: all.
    allowed_region: str | None = None
    # Cloud Build refuses every build, as under an organization's policy.
    no_builds: bool = False

    def need_permission(self, label: str) -> None:
        if self.refused.get(label):
            self.refused[label] -= 1
            raise Refused(f"Error 403: {label}: permission denied")

    def need_location(self, region: str) -> None:
        if self.allowed_region not in (None, region):
            raise Refused(f"constraints/gcp.resourceLocations: {region} is not allowed")

    def need_api(self, name: str) -> None:
        early = self.apis.get(name)
        if early is None:
            raise Refused(f"SERVICE_DISABLED: {name}.googleapis.com has not been used in project")
        if early:
            self.apis[name] = early - 1
            raise Refused(f"SERVICE_DISABLED: {name}.googleapis.com: wait a few minutes and retry")

    def enable(self, name: str) -> None:
        self.apis.setdefault(name, _CALLS_TOO_EARLY)

    def of_kind(self, kind: str) -> list[Values]:
        return [values for key, values in self.resources.items() if key.startswith(f"{kind}/")]

    def add_secret(self, name: str, value: str) -> None:
        """Add a version; versions count from one again when a secret is made again."""
        self.secrets[name].append(value)
        minutes, seconds = divmod(self.number(), 60)
        self.secret_times[name] = f"2026-11-27T10:{minutes % 60:02}:{seconds:02}.123456Z"

    def migrate(self, revision: str | None) -> None:
        """Bring the schema to a release, by the owner and with the password in Secret Manager."""
        if self.secrets.get("idrl-postgres-owner-password", [None])[-1] != self.owner_password:
            raise Refused("database_not_migrated: password authentication failed for idrl_owner")
        if revision and revision not in self.schemas:
            self.schemas.append(revision)

    def number(self) -> int:
        self.made += 1
        return self.made

    def account_made(self, email: str) -> None:
        self.fresh_accounts[f"serviceAccount:{email}"] = _GRANTS_TOO_EARLY

    def need_account(self, member: str) -> None:
        if self.fresh_accounts.get(member):
            self.fresh_accounts[member] -= 1
            raise Refused(f"Error 400: Service account {member} does not exist., badRequest")

    def workers(self) -> int:
        return sum(
            machine["answers"] for name, machine in self.machines.items() if "worker" in name
        )

    def current_release(self, pointer: str = "current") -> str | None:
        return self.named_by(pointer).get("revision")

    def named_by(self, pointer: str) -> dict[str, str]:
        """Return what `current` or `next` says of a release."""
        text = next((text for url, text in self.objects.items() if url.endswith(f"/{pointer}")), "")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def boot(self, name: str) -> None:
        """Start a machine: the release is the one that is current now; web brings the schema."""
        release = self.named_by("current")
        revision = release.get("revision")
        pulled = [value for key, value in release.items() if key.startswith("image_")]
        self.machines[name] = {
            "revision": revision,
            "answers": revision is not None,
            "images": "registry" if pulled else "machine",
        }
        if name == "idrl-web" and revision and not self.schemas:
            self.migrate(revision)

    def provision(self, name: str) -> None:
        """Bring a machine to the current release; its services stop for that."""
        self.machines[name]["answers"] = False
        if "worker" in name:
            remaining = self.workers()
            known = self.fewest_workers
            self.fewest_workers = remaining if known is None else min(remaining, known)
        self.boot(name)


class Cloud:
    """The project in its folder, for one call at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reset(self) -> None:
        self._write(Project())

    def read(self) -> Project:
        return Project(**json.loads((self.folder / "project.json").read_text()))

    @contextmanager
    def change(self) -> Iterator[Project]:
        """Yield the project for changes, which are saved even if the call is refused."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            project = self.read()
            try:
                yield project
            finally:
                self._write(project)

    def kill_terraform(self) -> None:
        """Kill the calling Terraform, whose process id fake_project.py has written to a file."""
        os.kill(int((self.folder / "terraform.pid").read_text()), signal.SIGKILL)

    def _write(self, project: Project) -> None:
        new = self.folder / "project.json.new"
        new.write_text(json.dumps(vars(project)))
        new.rename(self.folder / "project.json")


def is_killed(steps: list[str], label: str) -> bool:
    """Return whether Terraform is killed at this step, and forget the step."""
    if label not in steps:
        return False
    steps.remove(label)
    return True


def step(project: Project, label: str) -> bool:
    """Record a step; return whether this run is to end at it."""
    project.log.append(f"{label} ({project.workers()} workers)")
    if project.ended_at is None or label in project.ended_at:
        return False
    project.ended_at.append(label)
    return True
