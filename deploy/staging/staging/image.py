"""The disk that every machine starts from: Debian, the kernel's modules, and the container images.

What a machine would fetch from an image registry is in it. Of Debian's packages the ones for NFS
are not: machines install them from a folder that stands in for the archive.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from harness import engine as engine_module, images
from harness.engine import Engine
from harness.stack import CHECKOUT

from staging import authority

_ADDED = Path(__file__).parents[1] / "root"
_MODULES = Path("/usr/lib/uml/modules")
_CACHE = CHECKOUT / ".cache" / "staging"
_PACKAGES = (
    "systemd-sysv dbus udev kmod procps netbase iproute2 iputils-ping curl ca-certificates "
    "openssh-server e2fsprogs "
    "chrony python3 iptables docker.io docker-compose nfs-common nfs-kernel-server"
)
# Disabled in the image: provisioning has to enable them.
_OFF = (
    "docker.service",
    "docker.socket",
    "containerd.service",
    "rpcbind.service",
    "rpcbind.socket",
)
# As in Google's image the timers of apt are on; these have nothing to do with provisioning.
_IDLE = ("dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer")
# Taken out again after their dependencies are there, for provisioning to install.
_LEFT_OUT = ("nfs-kernel-server", "nfs-common")
_BASES = ("python:3.11-slim-bookworm", "redis:7.2-bookworm", "nginx:1.28-bookworm")
_DISK = "8G"  # sparse


@dataclass(frozen=True)
class Work:
    """The folder of one run, and what lies where in it."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "root"

    @property
    def image(self) -> Path:
        return self.folder / "root.img"

    @property
    def release(self) -> Path:
        return self.folder / "release.tar.gz"

    @property
    def authority(self) -> Path:
        """The files of the certificate authority that signs the web machine's certificate."""
        return self.folder / "authority"

    @property
    def packages(self) -> Path:
        """The archive of the packages that machines install."""
        return self.folder / "packages"

    @property
    def preloaded(self) -> Path:
        """What linux.uml needs to run on some processors; missing on all others."""
        return self.folder / "xstate.so"

    @property
    def ssh_key(self) -> Path:
        return self.folder / "ssh-key"

    @property
    def revision(self) -> str:
        return (self.folder / "revision").read_text()


def main(folder: str) -> None:
    """Make the release and the disk in the folder."""
    work = Work(Path(folder))
    _make_release(work)
    _unpack_debian(work)
    _set_up(work)
    _load_images(work)
    _make_disk(work)


def _make_release(work: Work) -> None:
    """Pack what is committed, as a release is packed."""
    revision = _output("git", "-C", str(CHECKOUT), "rev-parse", "HEAD").strip()
    (work.folder / "revision").write_text(revision)
    _run(
        "git",
        "-C",
        str(CHECKOUT),
        "archive",
        "--format=tar.gz",
        f"--output={work.release}",
        revision,
    )


def _unpack_debian(work: Work) -> None:
    _CACHE.mkdir(parents=True, exist_ok=True)
    archive = _CACHE / f"root-{hashlib.sha256(_PACKAGES.encode()).hexdigest()[:12]}.tar"
    if not archive.exists():
        include = "--include=" + ",".join(_PACKAGES.split())
        new = archive.with_suffix(".new")
        _run(
            "mmdebstrap",
            "--quiet",
            "--format=tar",
            "--variant=minbase",
            include,
            "bookworm",
            str(new),
        )
        new.rename(archive)
    work.tree.mkdir()
    # Device files are the business of the machine's own kernel.
    _run("tar", "--extract", f"--file={archive}", f"--directory={work.tree}", "--exclude=./dev/*")


def _leave_out_packages(work: Work) -> None:
    """Remove the packages that machines install themselves, and offer them in an archive."""
    cached = _CACHE / "packages"
    cached.mkdir(exist_ok=True)
    for name in _LEFT_OUT:
        if not list(cached.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "-qq", "update"], check=False, capture_output=True)
            subprocess.run(["apt-get", "-qq", "download", name], cwd=cached, check=True)
    # Exit code 101 forbids package scripts to stop services: none runs in the tree.
    policy = work.tree / "usr" / "sbin" / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    _run("chroot", str(work.tree), "dpkg", "--purge", *_LEFT_OUT)
    policy.unlink()
    work.packages.mkdir()
    index = ""
    for package in sorted(cached.glob("*.deb")):
        # Without the version, whose colon would be another character in its address.
        name = f"{package.name.partition('_')[0]}.deb"
        shutil.copy(package, work.packages / name)
        fields = _output("dpkg-deb", "--field", str(package))
        size, digest = package.stat().st_size, sha256_of(package)
        index += f"{fields}Filename: ./{name}\nSize: {size}\nSHA256: {digest}\n\n"
    (work.packages / "Packages").write_text(index)
    apt = work.tree / "etc" / "apt"
    for path in (apt / "sources.list.d").iterdir():
        path.unlink()
    sources = apt / "sources.list"
    sources.write_text("deb [trusted=yes] http://169.254.169.254/packages ./\n")


def _set_up(work: Work) -> None:
    tree = work.tree
    _leave_out_packages(work)
    for modules in _MODULES.iterdir():
        shutil.copytree(modules, tree / "lib" / "modules" / modules.name)
        _run("chroot", str(tree), "depmod", modules.name)
    shutil.copytree(_ADDED, tree, dirs_exist_ok=True)
    (tree / "etc/fstab").write_text("/dev/ubda / ext4 defaults 0 1\n")
    trusted = tree / "etc" / "idrl" / "acme-ca.pem"
    trusted.parent.mkdir()
    shutil.copy(authority.make_certificate(work.authority), trusted)
    _replace(tree / "etc/resolv.conf", "nameserver 169.254.169.254\n")
    _replace(tree / "etc/hosts", "127.0.0.1 localhost\n")
    chrony = tree / "etc/chrony/chrony.conf"
    chrony.write_text("".join(line for line in chrony.open() if not line.startswith("pool ")))
    # Debian's dockerd speaks to the older iptables only where the kernel has no nftables.
    _run(
        "chroot",
        str(tree),
        "update-alternatives",
        "--quiet",
        "--set",
        "iptables",
        "/usr/sbin/iptables-legacy",
    )
    _run("systemctl", f"--root={tree}", "--quiet", "disable", *_OFF)
    _run("systemctl", f"--root={tree}", "--quiet", "mask", *_IDLE)
    _run("systemctl", f"--root={tree}", "--quiet", "set-default", "graphical.target")
    _run(
        "systemctl",
        f"--root={tree}",
        "--quiet",
        "enable",
        "staging-network.service",
        "staging-apt-lock.service",
        "google-startup-scripts.service",
    )
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(work.ssh_key))
    keys = tree / "root" / ".ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(work.ssh_key.with_suffix(".pub"), keys)


def _replace(path: Path, text: str) -> None:
    """Write a file where a link may be."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def _load_images(work: Work) -> None:
    """Build the container images right where the machines' own engine will look for them."""
    folder = work.folder / "engine"
    folder.mkdir()
    with engine_module.for_builds(folder, work.tree / "var/lib/docker") as engine:
        stand_ins = images.provide_bases(engine, folder, _BASES)
        print(f"no registry: stand-ins for {', '.join(stand_ins)}", flush=True)
        _build_release(engine, work)
        engine.docker("rmi", "--force", _BASES[0], "idrl-standin:debian", "idrl-standin:bare")
        engine.docker("image", "prune", "--force")
    # The build host's networks; each machine makes its own.
    shutil.rmtree(work.tree / "var/lib/docker/network")


def _build_release(engine: Engine, work: Work) -> None:
    """Build the release's images under the names that provisioning gives them."""
    checkout = work.folder / "release"
    with tarfile.open(work.release) as archive:
        archive.extractall(checkout, filter="data")
    folders = {
        "web": "web-server",
        "worker": "worker-server",
        "psg": "psg",
        "certbot": "deploy/provision/certbot",
    }
    for name, folder in folders.items():
        options = (
            "--build-arg",
            f"REVISION={work.revision}",
            "--file",
            str(checkout / folder / "Dockerfile"),
        )
        engine.build(f"idrl-{name}:{work.revision}", *options, str(checkout))


def _make_disk(work: Work) -> None:
    with work.image.open("wb") as disk:
        os.truncate(disk.fileno(), int(_DISK.removesuffix("G")) * 1024**3)
    _run("mkfs.ext4", "-q", "-d", str(work.tree), str(work.image))
    shutil.rmtree(work.tree / "var/lib/docker")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1])
