#!/bin/sh
# Mount the file server's folder at /usr/remote_folder on this worker machine, now and at each boot.
# Usage, as root: FILE_SERVER=10.0.0.4 ./mount-share.sh
# Safe to run again, also with another address.
set -eu

where=/usr/remote_folder
# systemd wants the units to be named after the path.
unit=usr-remote_folder

fail() {
	echo "mount-share.sh: $1" >&2
	exit 1
}

[ -n "${FILE_SERVER:-}" ] || fail "FILE_SERVER is not set: the name or address of the file server"
case $FILE_SERVER in
-* | .* | *[!A-Za-z0-9.-]*) fail "FILE_SERVER must be a host name or an IPv4 address, not '$FILE_SERVER'" ;;
esac
[ "$(id -u)" = 0 ] || fail "run it as root"

if ! command -v mount.nfs4 >/dev/null; then
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends nfs-common >/dev/null
fi
mkdir -p "$where"

# Write standard input to the unit file $1, and note when that changed something.
changed=no
write() {
	cat >"/etc/systemd/system/$1.new"
	cmp -s "/etc/systemd/system/$1.new" "/etc/systemd/system/$1" || changed=yes
	mv "/etc/systemd/system/$1.new" "/etc/systemd/system/$1"
}

# hard: a write waits for a server that is unavailable; soft would lose it without an error (nfs(5)).
write "$unit.mount" <<END
[Unit]
Description=The share of the file server
Wants=network-online.target
After=network-online.target

[Mount]
What=$FILE_SERVER:/var/nfs/shared_folder
Where=$where
Type=nfs4
Options=nfsvers=4.2,proto=tcp,hard,timeo=600,retrans=2,noexec,nosuid,nodev,_netdev
TimeoutSec=120
END
# Mounted by the first access, again and again until it works: the order in which the machines boot
# does not matter.
write "$unit.automount" <<END
[Unit]
Description=Mounts the share of the file server when it is used
Before=docker.service

[Automount]
Where=$where

[Install]
WantedBy=multi-user.target
END

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# Another server's share may still be mounted though nothing changed now: an earlier run wrote the
	# units and could not unmount it.
	mounted=$(findmnt --noheadings --first-only --types nfs,nfs4 --output SOURCE --mountpoint "$where" || true)
	[ -z "$mounted" ] || [ "$mounted" = "$FILE_SERVER:/var/nfs/shared_folder" ] || changed=yes
	# A share that is in use stays mounted while nothing about it changes.
	if [ "$changed" = yes ]; then
		systemctl --quiet stop "$unit.mount"
		systemctl --quiet stop "$unit.automount"
	fi
	systemctl --quiet enable "$unit.automount"
	systemctl start "$unit.automount"
	[ -e "$where/.idrl-share" ] || fail "$FILE_SERVER does not give the share: see systemctl status $unit.mount"
	echo "the share of $FILE_SERVER is mounted at $where"
else
	mkdir -p /etc/systemd/system/multi-user.target.wants
	ln -sf "/etc/systemd/system/$unit.automount" /etc/systemd/system/multi-user.target.wants/
	echo "the share of $FILE_SERVER will be mounted at $where after the next boot"
fi
