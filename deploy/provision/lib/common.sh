# shellcheck shell=sh
# What all provisioning scripts share: where things lie, how they speak, and how they write a file.

# Other folders than these are for tests.
IDRL_ETC=${IDRL_ETC:-/etc/idrl}
IDRL_OPT=${IDRL_OPT:-/opt/idrl}
IDRL_UNITS=${IDRL_UNITS:-/etc/systemd/system}
# The interface of the network that render workers are in.
# shellcheck disable=SC2034 # read by guard-egress, worker
RENDER_BRIDGE=idrl-render
# How long anything that this machine has to wait for may take: the database, the share, secrets,
# the first answer.
IDRL_WAIT_S=${IDRL_WAIT_S:-600}
# A startup script has no HOME, and docker needs one.
export HOME="${HOME:-/root}"

say() {
	printf 'idrl: %s\n' "$*"
}

# fail CODE SENTENCE: end with a stable code for scripts and a sentence for people.
fail() {
	fail_code=$1
	shift
	printf 'idrl: %s: %s\n' "$fail_code" "$*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || fail not_root "run it as root"
}

# Write standard input to the file $1 with the mode $2, and note when that changed something; the
# file never lies there half written or readable for others.
changed=no
write_file() {
	mkdir -p "$(dirname "$1")"
	(umask 077 && cat >"$1.new")
	chmod "$2" "$1.new"
	cmp -s "$1.new" "$1" || changed=yes
	mv "$1.new" "$1"
}

# Write standard input to the file $1, for all to read, and note when that changed something. It
# stays the same file: a container that has it mounted would keep the old one after a rename.
write_mounted_file() {
	mkdir -p "$(dirname "$1")"
	cat >"$1.new"
	if ! cmp -s "$1.new" "$1"; then
		changed=yes
		cat "$1.new" >"$1"
	fi
	chmod 644 "$1"
	rm "$1.new"
}

# Write the systemd unit $1 from standard input.
write_unit_file() {
	changed=no
	write_file "$IDRL_UNITS/$1" 644
	[ "$changed" = no ] || systemctl daemon-reload
}

# Concurrent runs (at boot and by hand) would overwrite each other's files: the second one waits.
take_turns() {
	exec 9>/run/lock/idrl-provision.lock
	flock 9
}
