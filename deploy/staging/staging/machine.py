"""A machine: a kernel as processes of this host, with its own disk, tap and address."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import expected
from expected import Machine

from idrl_testing.waiting import wait_until
from staging.image import Work
from staging.network import Network

_BOOT_S = 180
_PROVISION_S = 1800
_UNIT = "idrl-provision.service"


class MachineFailed(Exception):
    """A command on a machine failed; the message ends with what it printed."""


@dataclass
class Vm:
    """A virtual machine that can be booted, logged in to, killed and booted again."""

    machine: Machine
    work: Work
    network: Network
    data_disk: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    # One connection for all commands: a new one costs a machine without KVM a second or more.
    _connection: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def console(self) -> Path:
        return self.work.folder / f"{self.name}.console"

    def boot(self) -> None:
        """Start it, from the same disk as before; returns at once."""
        assert self._process is None or self._process.poll() is not None, f"{self.name} runs"
        tap, machine = self.network.attach(self.machine), self.machine
        disks = [f"ubda={self.work.folder}/{self.name}.cow,{self.work.image}"]
        disks += [f"ubdb={self.data_disk}"] if self.data_disk else []
        command = [
            "linux.uml",
            f"umid={self.name}",
            f"uml_dir={self.work.folder}/uml/",
            f"mem={machine.memory_mib}M",
        ]
        command += [*disks, "root=/dev/ubda", "rw", "con=null", "con0=fd:1,fd:1", "quiet"]
        command += [
            f"vec0:transport=tap,ifname={tap},depth=128,gro=1",
            "systemd.unified_cgroup_hierarchy=0",
        ]
        command += [
            f"idrl.name={machine.name}",
            f"idrl.address={machine.address}",
            f"idrl.gateway={machine.gateway}",
        ]
        # Their first boot finds apt's lock held, as by unattended-upgrades.
        command += ["idrl.apt_lock"] if machine in expected.MACHINES else []
        # User-mode Linux keeps the machine's memory in a sparse file in TMPDIR.
        environment = {**os.environ, "TMPDIR": str(self.work.folder / "memory")}
        if self.work.preloaded.exists():
            environment["LD_PRELOAD"] = str(self.work.preloaded)
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def wait_for_ssh(self) -> None:
        """Return when it can be logged in to, with a connection that stays open."""
        wait_until(self._can_log_in, _BOOT_S)
        self._connection = subprocess.Popen(
            self._ssh_command("-M", "-N", self._address),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_for_startup(self) -> None:
        """Return when this boot's provisioning has ended well; fail with its log if it does not."""
        self.wait_for_ssh()
        deadline = time.monotonic() + _PROVISION_S
        # Failed tries in between are what the unit is for.
        while not self._is_provisioned():
            assert time.monotonic() < deadline, self.startup_log()
            time.sleep(3)

    def _is_provisioned(self) -> bool:
        """Return whether the unit's job of this boot is done.

        The journal tells: systemd forgets the properties of a unit that has ended.
        """
        job = f"UNIT={_UNIT} JOB_TYPE=start JOB_RESULT=done"
        return bool(self.ssh(f"journalctl --boot --quiet --no-pager --output=cat {job}").strip())

    def startup_log(self) -> str:
        """Return what provisioning has printed since the machine was booted."""
        return self.ssh(
            f"journalctl --boot --unit=google-startup-scripts --unit={_UNIT}"
            " --no-pager --output=cat"
        )

    def ssh(self, command: str, timeout_s: float = 120) -> str:
        """Run a shell command there and return its output; raise MachineFailed when it fails."""
        done = self._ssh(command, timeout_s)
        if done.returncode:
            raise MachineFailed(
                f"{self.name}: {command} ended with {done.returncode}:\n"
                f"{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def python(self, script: str, *arguments: str) -> str:
        """Run a Python script there and return what it printed."""
        return self.ssh(f"python3 - {shlex.join(arguments)} <<'END'\n{script}\nEND")

    def output_of(self, command: str) -> str:
        """Return what the shell command printed there, its errors included."""
        done = self._ssh(command, 60)
        return done.stdout + done.stderr

    def shut_down(self) -> None:
        """Let it stop by itself, as for a reboot."""
        assert self._process
        self._ssh("systemctl poweroff", 30)
        self._process.wait(180)
        self._end()

    def kill(self) -> None:
        """Take the power away."""
        self._end()

    def _end(self) -> None:
        """End what is left of its processes: all are in the group that was made for it."""
        if self._connection is not None:
            self._connection.kill()
            self._connection.wait()
            self._connection = None
            self._socket.unlink(missing_ok=True)
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _can_log_in(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (
            f"{self.name} has ended:\n{self.console.read_text(errors='replace')[-2000:]}"
        )
        return self._ssh("true", 30).returncode == 0

    @property
    def _address(self) -> str:
        return f"root@{self.machine.address}"

    @property
    def _socket(self) -> Path:
        """Where commands find the open connection; without it they make one of their own."""
        return self.work.folder / f"{self.name}.ssh"

    def _ssh_command(self, *arguments: str) -> list[str]:
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ]
        options += ["ConnectTimeout=30", "ServerAliveInterval=5", "ServerAliveCountMax=12"]
        options += [f"ControlPath={self._socket}"]
        ssh_options = [word for option in options for word in ("-o", option)]
        return ["ssh", "-i", str(self.work.ssh_key), *ssh_options, *arguments]

    def _ssh(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                self._ssh_command(self._address, command),
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(error.cmd, 255, "", f"no end after {timeout_s} s")
