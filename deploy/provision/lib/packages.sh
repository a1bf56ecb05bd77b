# shellcheck shell=sh
# Debian's packages; a machine that has everything already needs no mirror.

# install_missing PROGRAM:PACKAGE...: install the packages whose program is not there.
install_missing() {
	wanted=
	for pair in "$@"; do
		command -v "${pair%%:*}" >/dev/null || wanted="$wanted ${pair#*:}"
	done
	[ -n "$wanted" ] || return 0
	command -v apt-get >/dev/null || fail packages_missing "this is no Debian or Ubuntu; install by hand:$wanted"
	say "installing$wanted"
	# DPkg::Lock::Timeout: at a first boot the system's own updates may be running.
	# shellcheck disable=SC2086 # words
	{
		apt-get -qq -o Acquire::Retries=5 update &&
			DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 \
				install --yes --no-install-recommends $wanted >/dev/null
	} || fail packages_missing "these could not be installed:$wanted"
}

install_basics() {
	install_missing curl:curl python3:python3-minimal
	[ -e /etc/ssl/certs/ca-certificates.crt ] || install_missing update-ca-certificates:ca-certificates
	# Tokens, leases and certificates are compared with the clock.
	for unit in chrony systemd-timesyncd ntp ntpsec; do
		[ -e "/lib/systemd/system/$unit.service" ] && return
	done
	install_missing chronyd:chrony
}

install_docker() {
	install_missing dockerd:docker.io iptables:iptables
	docker compose version >/dev/null 2>&1 || install_missing docker-compose:docker-compose
	systemctl --quiet enable docker.service
	docker info >/dev/null 2>&1 || systemctl start docker.service
}
