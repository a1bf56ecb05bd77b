#!/bin/sh
# Write .env for the docker-compose.yml in the checkout's root: random passwords and a new key pair.
# A file that is there is kept. Needs openssl.
set -eu
cd "$(dirname "$0")/.."
target=${1:-.env}
# What containers have mounted of the checkout: their users read it as others. A strict umask has
# closed it to them.
chmod -R go+rX common/to_json.sed deploy/monitoring web-server/nginx \
	worker-server/logo worker-server/redis.conf worker-server/tls
if [ -e "$target" ]; then
	echo "$target is there already and is kept: the database in the volume has its passwords"
	exit
fi

password() { openssl rand -hex 24; }
one_line() { awk '{ printf "%s\\n", $0 }'; }

umask 077
# Each in a line of its own: within the text of `cat` an error would leave a value empty.
key=$(openssl genpkey -algorithm ed25519)
private_key=$(printf '%s\n' "$key" | one_line)
public_key=$(printf '%s\n' "$key" | openssl pkey -pubout)
public_key=$(printf '%s\n' "$public_key" | one_line)
postgres_password=$(password)
web_password=$(password)
worker_password=$(password)
redis_password=$(password)
cat >"$target.new" <<END
# The secrets of this installation, made by make env. With this file one can act as every user.
# Every other setting of the machines' .env.example files can be added here.
POSTGRES_HOST=postgres
POSTGRES_PASSWORD=$postgres_password
WEB_DB_PASSWORD=$web_password
WORKER_DB_PASSWORD=$worker_password
REDIS_PASSWORD=$redis_password
REDIS_URL=redis://:$redis_password@redis:6379/0
TASKS_URL=http://tasks:5004
JWT_PRIVATE_KEY=$private_key
JWT_PUBLIC_KEY=$public_key
END
mv "$target.new" "$target"
echo "wrote $target"
