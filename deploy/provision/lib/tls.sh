# shellcheck shell=sh
# HTTPS on the web machine: a certificate of Let's Encrypt, got and renewed by certbot.

# shellcheck disable=SC2034 # used by certificate
acme_server=https://acme-v02.api.letsencrypt.org/directory

# Let nginx start before there is a certificate: with one that the machine makes itself.
prepare_tls() {
	mkdir -p "$IDRL_ETC/tls/acme"
	[ ! -s "$IDRL_ETC/tls/cert.pem" ] || return 0
	install_missing openssl:openssl
	say "making a certificate to start with"
	own=$(mktemp -d)
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
		-subj "/CN=idrl" -keyout "$own/key.pem" -out "$own/cert.pem" 2>/dev/null
	install_certificate "$own/cert.pem" "$own/key.pem"
	rm -r "$own"
}

# install_certificate CERTIFICATE KEY [SERVICE]: put them where nginx, which is the service nginx or
# that, reads them, and have it read them again.
install_certificate() {
	is_unread "${3:-nginx}" || ! cmp -s "$1" "$IDRL_ETC/tls/cert.pem" || return 0
	mkdir -p "$IDRL_ETC/tls"
	note_unread "${3:-nginx}"
	# nginx runs as a user of its own; which one that is, only the image knows.
	owner=$(docker run --rm --network none --user nginx --entrypoint id "$(nginx_image)" -u)
	[ -e "$IDRL_ETC/tls/key.pem" ] ||
		install -o "$owner" -m 0400 /dev/null "$IDRL_ETC/tls/key.pem"
	# In place: the container has these very files, and would keep the old ones after a rename.
	cat "$2" >"$IDRL_ETC/tls/key.pem"
	cat "$1" >"$IDRL_ETC/tls/cert.pem"
	reload_nginx "${3:-nginx}"
	say "nginx has a new certificate"
}

# Note that the nginx of the service $1 has files to read, until it has been told: a run that fails
# or ends in between is made good by the next one.
note_unread() {
	: >"$IDRL_ETC/unread-$1"
}

is_unread() {
	[ -e "$IDRL_ETC/unread-$1" ]
}

# Have the nginx of the service $1 read its files again, where it runs.
reload_nginx() {
	nginx=$(docker ps --quiet --filter "label=com.docker.compose.service=$1")
	[ -z "$nginx" ] || docker kill --signal HUP "$nginx" >/dev/null
	rm -f "$IDRL_ETC/unread-$1"
}

nginx_image() {
	given=$(service_settings | sed -n 's/^NGINX_IMAGE=//p' | tail -n 1)
	printf '%s' "${given:-nginx:1.28-bookworm}"
}

# Print the lines that HTTPS adds to the .env of the web machine's services.
tls_lines() {
	printf 'TLS_CERT=%s\nTLS_KEY=%s\nACME_WEBROOT=%s\n' \
		"$IDRL_ETC/tls/cert.pem" "$IDRL_ETC/tls/key.pem" "$IDRL_ETC/tls/acme"
	# Plain HTTP is redirected at port 80; 5050 is for this machine alone.
	service_settings | grep -q '^PORT=' || echo PORT=127.0.0.1:5050
}

# build_certbot IMAGE RELEASE
build_certbot() {
	python_image=$(service_settings | sed -n 's/^PYTHON_IMAGE=//p' | tail -n 1)
	docker build --tag "$1" --file "$2/deploy/provision/certbot/Dockerfile" \
		--build-arg PYTHON_IMAGE="${python_image:-python:3.11-slim-bookworm}" "$2" \
		>"$IDRL_OPT/build-certbot.log" 2>&1 ||
		fail image_not_built "$1 could not be built; see $IDRL_OPT/build-certbot.log"
}

# run_certbot IMAGE ARGUMENT…: nginx serves what it leaves in the folder for challenges.
run_certbot() {
	certbot_image=$1
	shift
	mkdir -p "$IDRL_ETC/letsencrypt" "$IDRL_ETC/tls/acme"
	trusted=
	# An authority inside a company has a certificate that only the company knows.
	[ ! -e "$IDRL_ETC/acme-ca.pem" ] ||
		trusted="--volume $IDRL_ETC/acme-ca.pem:/acme-ca.pem:ro --env REQUESTS_CA_BUNDLE=/acme-ca.pem"
	# shellcheck disable=SC2086 # words
	docker run --rm --volume "$IDRL_ETC/letsencrypt:/etc/letsencrypt" \
		--volume "$IDRL_ETC/tls/acme:/acme" $trusted "$certbot_image" "$@"
}

# Have the certificate got now unless there is one, and renewed in time.
start_certificates() {
	write_unit_file idrl-certificate.service <<END
[Unit]
Description=idrl: the certificate of the web machine
Wants=network-online.target
After=docker.service network-online.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=$IDRL_OPT/current/deploy/provision/certificate
TimeoutStartSec=1200
Restart=on-failure
# Let's Encrypt allows five failures an hour.
RestartSec=${IDRL_CERTIFICATE_RESTART_S:-900}
END
	write_unit_file idrl-certificate.timer <<END
[Unit]
Description=idrl: renew the certificate of the web machine in time

[Timer]
OnBootSec=10min
OnUnitInactiveSec=6h
RandomizedDelaySec=30min

[Install]
WantedBy=timers.target
END
	systemctl --quiet enable --now idrl-certificate.timer
	[ -e "$IDRL_ETC/letsencrypt/live/$(setting idrl-tls-name)/fullchain.pem" ] ||
		systemctl start --no-block idrl-certificate.service
}
