#!/bin/sh
# Fill in nginx's configuration in the container, then become nginx.
set -eu
export NGINX_LISTEN=5050 NGINX_TEMP=/tmp/nginx NGINX_ACCESS_LOG=/dev/stdout
# Docker's own name server, asked again every second: a container that is replaced gets another address.
export NGINX_UPSTREAMS='resolver 127.0.0.11 valid=1s ipv6=off;'
tasks=${TASKS_URL#*://}
export WEB_UPSTREAM=web:5002 TASKS_UPSTREAM="${tasks%%/*}"
export CLIP_CACHE_FOLDER=/var/tmp/clips
mkdir -p "$NGINX_TEMP"
# shellcheck disable=SC2016 # these are the names that envsubst may replace
envsubst '${NGINX_LISTEN} ${NGINX_TEMP} ${NGINX_ACCESS_LOG} ${NGINX_UPSTREAMS} ${WEB_UPSTREAM} ${TASKS_UPSTREAM}
	${AUTH_RATE} ${AUTH_BURST} ${CLIP_CACHE_FOLDER} ${CLIP_CACHE_SIZE}' </etc/idrl/nginx.conf.template >/tmp/nginx.conf
exec nginx -e stderr -c /tmp/nginx.conf
