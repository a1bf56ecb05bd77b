#!/bin/sh
# Fill in nginx's configuration in the container, then become nginx.
set -eu
fail() {
	echo "$1" >&2
	exit 1
}
# Where the services' own ports are published beside these, callers could go on without TLS.
for setting in "TASKS_BIND=$TASKS_BIND" "REDIS_BIND=$REDIS_BIND"; do
	case $setting in *=127.*) ;; *) fail "with tls.yml set ${setting%%=*}=127.0.0.1: the port without TLS is open to other machines" ;; esac
done
# tls.yml mounts them here.
export TLS_CERT=/run/tls/cert.pem TLS_KEY=/run/tls/key.pem
for file in "$TLS_CERT" "$TLS_KEY"; do
	[ -r "$file" ] || fail "nginx cannot read $file: TLS needs TLS_CERT and TLS_KEY, readable by uid $(id -u)"
done
export TASKS_LISTEN=5443 REDIS_LISTEN=6380 TASKS_UPSTREAM=tasks:5004 REDIS_UPSTREAM=redis:6379
# Docker's own name server, asked every second: a container that is replaced gets another address.
export NGINX_RESOLVER='resolver 127.0.0.11 valid=1s ipv6=off;'
# Debian's nginx has streams in a module, the registry's nginx has them built in.
export NGINX_MODULES=
module=/usr/lib/nginx/modules/ngx_stream_module.so
[ ! -e "$module" ] || NGINX_MODULES="load_module $module;"
# shellcheck disable=SC2016 # these are the names that envsubst may replace
envsubst '${NGINX_MODULES} ${NGINX_RESOLVER} ${TLS_CERT} ${TLS_KEY} ${TASKS_LISTEN} ${REDIS_LISTEN}
	${TASKS_UPSTREAM} ${REDIS_UPSTREAM}' </etc/idrl/nginx.conf.template >/tmp/nginx.conf
# Errors as JSON, as the other containers write them.
rm -f /tmp/errors
mkfifo /tmp/errors
LC_ALL=C sed --unbuffered -E -f /etc/to_json.sed -e s/@SERVICE@/tls/ </tmp/errors >&2 &
exec nginx -e stderr -c /tmp/nginx.conf 2>/tmp/errors
