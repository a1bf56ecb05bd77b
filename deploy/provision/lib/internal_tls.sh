# shellcheck shell=sh
# TLS between the machines: the first worker machine has a certificate for the tasks service and for
# Redis, and the others check it against the authority that it comes from.

has_internal_tls() {
	[ "$(setting idrl-internal-tls 0)" = 1 ]
}

# Whether this worker machine is the one with the certificate.
serves_internal_tls() {
	has_internal_tls && [ "$(setting idrl-first-worker 1)" = 1 ]
}

check_internal_tls() {
	check_setting idrl-internal-tls '0|1' '1 for TLS between the machines'
	! has_internal_tls || case $(setting idrl-tasks-host) in
	*[!0-9.]*) ;;
	*) fail setting_invalid "with idrl-internal-tls, idrl-tasks-host must be the DNS name in the certificate, not '$(setting idrl-tasks-host)'" ;;
	esac
}

# need_internal_tls SECRET…: read these now, before anything is changed.
need_internal_tls() {
	has_internal_tls || return 0
	for internal_secret; do
		pem "$internal_secret" >/dev/null
	done
}

# Public, and read by the users of the containers.
write_internal_ca() {
	has_internal_tls || return 0
	internal_ca=$(pem idrl-internal-ca)
	printf '%b\n' "$internal_ca" >"$IDRL_ETC/internal-ca.given"
	changed=no
	write_mounted_file "$IDRL_ETC/internal-ca.pem" <"$IDRL_ETC/internal-ca.given"
	rm "$IDRL_ETC/internal-ca.given"
	[ "$changed" = no ] || note_unread nginx
	! is_unread nginx || reload_nginx nginx
}

# Put the certificate and its key where the service tls reads them.
install_internal_certificate() {
	serves_internal_tls || return 0
	install_missing openssl:openssl
	internal_cert=$(pem idrl-internal-cert)
	internal_key=$(pem idrl-internal-key)
	internal_new=$(mktemp -d)
	printf '%b\n' "$internal_cert" >"$internal_new/cert.pem"
	(umask 077 && printf '%b\n' "$internal_key" >"$internal_new/key.pem")
	! internal_fault=$(internal_certificate_fault "$internal_new") || {
		rm -r "$internal_new"
		fail certificate_invalid "$internal_fault"
	}
	install_certificate "$internal_new/cert.pem" "$internal_new/key.pem" tls
	rm -r "$internal_new"
}

# Print what the other machines would refuse of the certificate in the folder $1; fail where there
# is nothing.
internal_certificate_fault() {
	fault_host=$(setting idrl-tasks-host)
	if ! openssl verify -purpose sslserver -CAfile "$IDRL_ETC/internal-ca.pem" -untrusted "$1/cert.pem" \
		-verify_hostname "$fault_host" "$1/cert.pem" >/dev/null 2>&1; then
		echo "idrl-internal-cert is not for $fault_host, has ended, or is not of idrl-internal-ca"
	elif [ "$(openssl x509 -in "$1/cert.pem" -noout -pubkey)" != \
		"$(openssl pkey -in "$1/key.pem" -pubout 2>/dev/null)" ]; then
		echo "idrl-internal-key is not the key of idrl-internal-cert"
	else
		return 1
	fi
}

# Print the compose files that TLS between the machines adds on this machine.
internal_tls_files() {
	has_internal_tls || return 0
	case $1 in
	web) echo tasks-ca.yml ;;
	worker) if serves_internal_tls; then echo tls.yml; else echo redis-ca.yml; fi ;;
	esac
}

# Print the lines of the web machine's .env on the tasks service.
tasks_lines() {
	if has_internal_tls; then
		printf 'TASKS_URL=https://%s:5443\nTASKS_CA=%s\n' \
			"$(setting idrl-tasks-host)" "$IDRL_ETC/internal-ca.pem"
	else
		printf 'TASKS_URL=http://%s:5004\n' "$(setting idrl-tasks-host)"
	fi
}

# Print the lines of a worker machine's .env on Redis; $1 is its password.
redis_lines() {
	printf 'REDIS_PASSWORD=%s\n' "$1"
	redis_host=$(setting idrl-tasks-host)
	if [ "$(setting idrl-first-worker 1)" = 1 ]; then
		printf 'REDIS_URL=redis://:%s@redis:6379/0\n' "$1"
	elif has_internal_tls; then
		printf 'REDIS_URL=rediss://:%s@%s:6380/0\nREDIS_CA=%s\n' \
			"$1" "$redis_host" "$IDRL_ETC/internal-ca.pem"
	else
		printf 'REDIS_URL=redis://:%s@%s:6379/0\n' "$1" "$redis_host"
	fi
}

# Print the lines on what a worker machine listens on; $1 is its address in the others' network. The
# ports without TLS are then its own alone.
listen_lines() {
	if serves_internal_tls; then
		printf 'TASKS_BIND=127.0.0.1\nREDIS_BIND=127.0.0.1\nTLS_BIND=%s\n' "$1"
		printf 'TLS_CERT=%s\nTLS_KEY=%s\n' "$IDRL_ETC/tls/cert.pem" "$IDRL_ETC/tls/key.pem"
		return
	fi
	for listen_name in REDIS_BIND TASKS_BIND; do
		service_settings | grep -q "^$listen_name=" || printf '%s=%s\n' "$listen_name" "$1"
	done
}
