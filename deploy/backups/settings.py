"""Settings from the environment, with the names of the machines' `.env` files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.backups.failures import Failed

_MARKER = ".idrl-share"
# libpq's names for the variables of the .env files, and the defaults.
_LIBPQ = {
    "PGHOST": ("POSTGRES_HOST", "127.0.0.1"),
    "PGPORT": ("POSTGRES_PORT", "5432"),
    "PGDATABASE": ("POSTGRES_DB", "idrl"),
    "PGUSER": ("POSTGRES_USER", "postgres"),
    "PGPASSWORD": ("POSTGRES_PASSWORD", ""),
    "PGSSLMODE": ("POSTGRES_SSLMODE", "prefer"),
}


@dataclass(frozen=True)
class Settings:
    """`libpq` is the environment of PostgreSQL's programs; an unknown role password is empty."""

    share: Path
    backups: Path | None
    keep: int
    libpq: Mapping[str, str]
    role_passwords: Mapping[str, str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read all settings. Raises Failed, which names the first invalid one."""
        if not environment.get("POSTGRES_PASSWORD"):
            raise Failed(
                "setting_missing",
                "POSTGRES_PASSWORD is not set, the password of the database's owner",
            )
        keep = environment.get("BACKUP_KEEP") or "14"
        if not keep.isascii() or not keep.isdigit() or int(keep) < 1:
            raise Failed(
                "setting_invalid",
                f"BACKUP_KEEP must be a number of backups, at least 1, not {keep!r}",
            )
        libpq = {name: environment.get(own) or default for name, (own, default) in _LIBPQ.items()}
        if authority := environment.get("POSTGRES_CA"):
            libpq["PGSSLROOTCERT"] = authority
        backups = environment.get("BACKUP_FOLDER")
        return cls(
            share=Path(environment.get("REMOTE_FOLDER") or "/usr/remote_folder"),
            backups=Path(backups).absolute() if backups else None,
            keep=int(keep),
            libpq={**environment, **libpq, "PGCONNECT_TIMEOUT": "5", "PGAPPNAME": "idrl-backup"},
            role_passwords={
                "web": environment.get("WEB_DB_PASSWORD") or "",
                "worker": environment.get("WORKER_DB_PASSWORD") or "",
            },
        )

    def check_share(self) -> None:
        """Raise Failed unless the share is mounted."""
        if not (self.share / _MARKER).exists():
            raise Failed(
                "share_away", f"{self.share} is not the share: there is no {_MARKER} in it"
            )
