#!/bin/sh
# Tell by the exit code whether virtual machines can run here: root, tun devices, namespaces, room,
# and the kernel that runs as a process, or Debian's archive to get it from. What is missing is
# printed.
set -eu
missing() {
	echo "$1"
	exit 1
}
[ "$(id -u)" = 0 ] || missing "not root"
[ "$(uname -m)" = x86_64 ] || missing "no x86_64"
[ -c /dev/net/tun ] || missing "no /dev/net/tun"
# Of all machines together, and of the disk that they start from with what each of them changes.
[ "$(awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)" -ge 7 ] || missing "less than 7 GiB of memory are free"
[ "$(df --output=avail -BG /var/tmp | tail -n 1 | tr -dc 0-9)" -ge 10 ] || missing "less than 10 GiB are free in /var/tmp"
probe=$(mktemp -d /var/tmp/idrl-staging-probe-XXXXXXXX)
trap 'rm -rf "$probe"' EXIT
mkdir "$probe/lower" "$probe/upper" "$probe/work" "$probe/merged"
# shellcheck disable=SC2016 # the inner shell's
unshare --mount --net --pid --fork sh -euc '
	cd "$1"
	mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
	[ -z "$(command -v ip)" ] || ip tuntap add idrl-probe mode tap
' probe "$probe" 2>/dev/null || missing "not allowed to make namespaces, overlays or tap devices"
# The virtual machines' processes drive their own children by ptrace.
[ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)" -lt 3 ] || missing "ptrace is forbidden"
command -v linux.uml >/dev/null && exit 0
command -v apt-get >/dev/null || missing "no linux.uml and no apt-get"
apt-get -qq update >/dev/null 2>&1 || true
apt-cache show user-mode-linux >/dev/null 2>&1 || missing "no linux.uml, and the archive has no user-mode-linux"
