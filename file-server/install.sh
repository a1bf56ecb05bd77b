#!/bin/sh
# Make this Debian or Ubuntu machine the file server: export /var/nfs/shared_folder over NFSv4 to
# one subnet.
# Usage, as root: EXPORT_TO=10.0.0.0/24 ./install.sh   (safe to run again, also with another subnet)
set -eu

folder=/var/nfs/shared_folder
# The user of the worker machines' containers; every client, root included, acts as this one here.
owner=10001

fail() {
	echo "install.sh: $1" >&2
	exit 1
}

check_subnet() {
	[ -n "${EXPORT_TO:-}" ] || fail "EXPORT_TO is not set: the subnet of the worker machines, such as 10.0.0.0/24"
	case $EXPORT_TO in
	*[!0-9./]*) subnet= ;; # a line break too, which grep would take for the end
	*) subnet=$(printf '%s\n' "$EXPORT_TO" | grep -Ex '([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}' || true) ;;
	esac
	[ -n "$subnet" ] || fail "EXPORT_TO must be an IPv4 subnet such as 10.0.0.0/24, not '$EXPORT_TO'"
	[ "${EXPORT_TO#*/}" -ge 16 ] && [ "${EXPORT_TO#*/}" -le 32 ] ||
		fail "EXPORT_TO must be a subnet of /16 to /32: a share for $EXPORT_TO would be open to other networks"
}

# Write standard input to the file $1, and note when that changed something.
changed=no
write() {
	mkdir -p "$(dirname "$1")"
	cat >"$1.new"
	if cmp -s "$1.new" "$1"; then
		rm "$1.new"
	else
		mv "$1.new" "$1"
		changed=yes
	fi
}

check_subnet
[ "$(id -u)" = 0 ] || fail "run it as root"

# Before the package, so that its first start is already one without NFSv3 and its helpers.
write /etc/nfs.conf.d/idrl.conf <<'END'
# NFSv4 only: one port (2049), no portmapper.
[nfsd]
vers3 = n
vers4 = y
END
# mountd tells the kernel who may use what; it listens for NFSv3 alone, and would on any port.
write /etc/systemd/system/nfs-mountd.service.d/idrl.conf <<'END'
[Service]
ExecStart=
ExecStart=/usr/sbin/rpc.mountd --no-tcp --no-udp
END
write /etc/exports.d/idrl.exports <<END
$folder $EXPORT_TO(rw,sync,no_subtree_check,root_squash,all_squash,anonuid=$owner,anongid=$owner)
END

install -d -o "$owner" -g "$owner" -m 0770 "$folder"
# The workers take no job where this file is missing: it tells the share from an empty folder.
[ -e "$folder/.idrl-share" ] || install -o "$owner" -g "$owner" -m 0640 /dev/null "$folder/.idrl-share"

if ! command -v exportfs >/dev/null; then
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends nfs-kernel-server >/dev/null
	changed=yes
fi

# Without systemd (an image being built) the services start with the machine.
if [ -d /run/systemd/system ]; then
	systemctl --quiet mask --now rpcbind.service rpcbind.socket rpc-statd.service
	systemctl daemon-reload
	systemctl --quiet enable nfs-server.service
	if [ "$changed" = yes ]; then systemctl restart nfs-server.service; else systemctl start nfs-server.service; fi
fi
echo "$folder is exported to $EXPORT_TO"
