#!/bin/sh
# Fill in nginx's configuration in the container, then become nginx.
set -eu

# must_be NAME VALUE PATTERN WHAT: an empty value passes; nginx would not say which setting it is.
must_be() {
	[ -z "$2" ] || printf '%s\n' "$2" | grep -Eqx "$3" || {
		echo "$1 must be $4, not '$2'" >&2
		exit 1
	}
}
rate='[1-9][0-9]{0,8}r/[sm]'
must_be AUTH_RATE "${AUTH_RATE:-}" "$rate" 'a number of requests such as 10r/s or 30r/m'
must_be API_RATE "${API_RATE:-}" "$rate" 'a number of requests such as 10r/s or 30r/m'
must_be AUTH_BURST "${AUTH_BURST:-}" '[1-9][0-9]{0,8}' 'a whole number from 1 on'
must_be API_BURST "${API_BURST:-}" '[1-9][0-9]{0,8}' 'a whole number from 1 on'
must_be CONN_LIMIT "${CONN_LIMIT:-}" '[1-9][0-9]{0,4}' 'a whole number from 1 to 65535'
must_be CLIP_CACHE_SIZE "${CLIP_CACHE_SIZE:-}" '[0-9]{1,9}[kKmMgG]?' 'a size such as 500m or 1g'
must_be METRICS_FROM "${METRICS_FROM:-}" '(all|[0-9A-Fa-f.:/, ])+' 'networks or addresses with commas between them'

export NGINX_LISTEN=5050 NGINX_TEMP=/tmp/nginx NGINX_ACCESS_LOG=/dev/stdout NGINX_TLS=
if [ -n "${TLS_CERT:-}${TLS_KEY:-}" ]; then
	# tls.yml mounts them here. 5050 then only redirects; HTTPS_PORT is the port as callers see it.
	certificate=/run/tls/cert.pem key=/run/tls/key.pem
	for file in "$certificate" "$key"; do
		[ -r "$file" ] || { echo "nginx cannot read $file: TLS needs TLS_CERT and TLS_KEY, readable by uid $(id -u)" >&2; exit 1; }
	done
	port=":${HTTPS_PORT:-443}"
	[ "$port" != :443 ] || port=
	NGINX_TLS="listen 5443 ssl backlog=4096; ssl_certificate $certificate; ssl_certificate_key $key;
        if (\$idrl_to_https) { return 308 https://\$host$port\$request_uri; }
        location ^~ /.well-known/acme-challenge/ { default_type text/plain; root /var/www/acme; }"
fi
# Docker's own name server, asked every second: a container that is replaced gets another address.
export NGINX_UPSTREAMS='resolver 127.0.0.11 valid=1s ipv6=off;'
METRICS_ALLOWED=
for network in $(printf '%s' "${METRICS_FROM:-}" | tr ',' ' '); do
	METRICS_ALLOWED="$METRICS_ALLOWED allow $network;"
done
export METRICS_ALLOWED
tasks=${TASKS_URL#*://}
tasks=${tasks%%/*}
export WEB_UPSTREAM=web:5002 TASKS_UPSTREAM="$tasks" TASKS_SCHEME=http TASKS_TLS=
if [ "${TASKS_URL%%://*}" = https ]; then
	[ -r "${TASKS_CA:-}" ] || { echo "TASKS_URL is https: TASKS_CA must name the certificate of its authority, readable by uid $(id -u); see tasks-ca.yml" >&2; exit 1; }
	case ${tasks%:*} in *[!0-9.]*) ;; *) echo "TASKS_URL is https: nginx checks certificates for a DNS name, not for the address ${tasks%:*}" >&2; exit 1 ;; esac
	TASKS_SCHEME=https
	TASKS_TLS="proxy_ssl_verify on; proxy_ssl_verify_depth 3; proxy_ssl_trusted_certificate $TASKS_CA;
    proxy_ssl_name ${tasks%:*}; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;"
fi
export CLIP_CACHE_FOLDER=/var/tmp/clips
# An eighth of CONN_LIMIT, as in `make up`.
export BODY_LIMIT=$(((${CONN_LIMIT:-200} + 7) / 8))
mkdir -p "$NGINX_TEMP"
# shellcheck disable=SC2016 # these are the names that envsubst may replace
envsubst '${NGINX_LISTEN} ${NGINX_TLS} ${NGINX_TEMP} ${NGINX_ACCESS_LOG} ${NGINX_UPSTREAMS} ${WEB_UPSTREAM}
	${TASKS_UPSTREAM} ${TASKS_SCHEME} ${TASKS_TLS} ${AUTH_RATE} ${AUTH_BURST} ${API_RATE} ${API_BURST} ${CONN_LIMIT} ${BODY_LIMIT} ${METRICS_ALLOWED}
	${CLIP_CACHE_FOLDER}
	${CLIP_CACHE_SIZE}' </etc/idrl/nginx.conf.template >/tmp/nginx.conf
# Errors as JSON, like the access log.
rm -f /tmp/errors
mkfifo /tmp/errors
LC_ALL=C sed --unbuffered -E -f /etc/to_json.sed -e s/@SERVICE@/nginx/ </tmp/errors >&2 &
exec nginx -e stderr -c /tmp/nginx.conf 2>/tmp/errors
