# shellcheck shell=sh
# Debian's packages; a machine that has everything already needs no mirror.

# How long apt may be kept from its locks: at a first boot the system's own updates are running.
IDRL_APT_S=${IDRL_APT_S:-600}

# retry_apt COMMAND…: run apt-get until it succeeds. The lock of the package lists cannot be waited
# for (DPkg::Lock::Timeout is for dpkg's), and a mirror that is being changed gives errors too.
retry_apt() {
	apt_deadline=$(($(date +%s) + IDRL_APT_S))
	until DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=60 \
		-o Acquire::Retries=3 "$@" >/dev/null; do
		[ "$(date +%s)" -lt "$apt_deadline" ] || return 1
		say "apt-get $1 does not work yet; trying again"
		sleep "${IDRL_APT_PAUSE_S:-5}"
	done
}

# install_missing PROGRAM:PACKAGE...: install the packages whose program is not there.
install_missing() {
	wanted=
	for pair in "$@"; do
		command -v "${pair%%:*}" >/dev/null || wanted="$wanted ${pair#*:}"
	done
	[ -n "$wanted" ] || return 0
	command -v apt-get >/dev/null ||
		fail packages_missing "this is not Debian or Ubuntu; install by hand:$wanted"
	say "installing$wanted"
	# shellcheck disable=SC2086 # words
	if ! retry_apt update || ! retry_apt install --yes --no-install-recommends $wanted; then
		fail packages_missing "these could not be installed:$wanted"
	fi
}

install_basics() {
	install_missing curl:curl python3:python3-minimal
	[ -e /etc/ssl/certs/ca-certificates.crt ] ||
		install_missing update-ca-certificates:ca-certificates
	# Tokens, leases and certificates are compared with the clock.
	for unit in chrony systemd-timesyncd ntp ntpsec; do
		[ -e "/lib/systemd/system/$unit.service" ] && return
	done
	install_missing chronyd:chrony
}

install_docker() {
	install_missing dockerd:docker.io iptables:iptables
	# Where the kernel has AppArmor, dockerd starts no container without its parser, which Debian
	# only recommends.
	[ "$(cat "${IDRL_APPARMOR:-/sys/module/apparmor/parameters/enabled}" 2>/dev/null)" != Y ] ||
		install_missing apparmor_parser:apparmor
	docker compose version >/dev/null 2>&1 || install_missing docker-compose:docker-compose
	systemctl --quiet enable docker.service
	docker info >/dev/null 2>&1 || systemctl start docker.service
}
