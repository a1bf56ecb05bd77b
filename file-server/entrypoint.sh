#!/bin/sh
# Prepare the folder, fill in the configuration, become the server.
set -eu
install -d -o 10001 -g 10001 -m 0770 /var/nfs/shared_folder
[ -e /var/nfs/shared_folder/.idrl-share ] ||
	install -o 10001 -g 10001 -m 0640 /dev/null /var/nfs/shared_folder/.idrl-share
# shellcheck disable=SC2016 # this is the name that envsubst may replace
envsubst '${EXPORT_TO}' </etc/idrl/ganesha.conf.template >/tmp/ganesha.conf
exec ganesha.nfsd -F -L /dev/stdout -f /tmp/ganesha.conf -p /tmp/ganesha.pid
