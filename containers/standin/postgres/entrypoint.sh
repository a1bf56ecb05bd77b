#!/bin/sh
# Make the cluster at the first start, as the registry's image does, then become the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	password_file=$(mktemp)
	printf '%s' "${POSTGRES_PASSWORD:?}" >"$password_file"
	initdb --username="${POSTGRES_USER:=postgres}" --pwfile="$password_file" --auth=scram-sha-256 --encoding=UTF8 \
		--locale=C.UTF-8 >/dev/null
	rm "$password_file"
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	[ "${POSTGRES_DB:=$POSTGRES_USER}" = postgres ] ||
		echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -j postgres >/dev/null
fi
exec "$@" -c listen_addresses='*'
