#!/bin/bash
# Build the machines' disk, then run the tests on virtual machines; all that is made is in one folder
# and three kinds of namespaces, which the end removes.
# Usage, as root: deploy/staging/test_vms.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/staging/have_vms.sh
# program:package
needed=(linux.uml:user-mode-linux mmdebstrap:mmdebstrap dockerd:docker.io docker-compose:docker-compose ip:iproute2
    iptables:iptables mkfs.ext4:e2fsprogs ssh:openssh-client dnsmasq:dnsmasq-base openssl:openssl pebble:pebble)
has_amx=$(grep -wm1 amx_tile /proc/cpuinfo || true)
[ -z "$has_amx" ] || needed+=(cc:gcc cc:libc6-dev)
packages=()
for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
done
if [ "${#packages[@]}" -gt 0 ]; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
fi

# Not in memory: the disks grow to some gigabytes.
work=$(mktemp -d /var/tmp/idrl-staging-XXXXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
export STAGING_WORK=$work PYTHONPATH=deploy/staging:containers

[ -z "$has_amx" ] || cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$work/xstate.so" deploy/staging/xstate.c

# Ends every process in it when it ends itself, in whatever way.
alone() { unshare --mount --pid --fork --kill-child --mount-proc "$@"; }

alone .venv/bin/python -m staging.image "$work"
# A /run of its own: names of network namespaces and the lock of iptables are this run's
# alone.
# shellcheck disable=SC2016 # these are the inner shell's
alone --net bash -euc '
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir /run/netns /run/lock "$STAGING_WORK/memory"
    { cat /etc/hosts; echo "10.77.1.11 web.staging.internal"; } >"$STAGING_WORK/hosts"
    mount --bind "$STAGING_WORK/hosts" /etc/hosts
    mount -t tmpfs -o size=8g tmpfs "$STAGING_WORK/memory"
    .venv/bin/pytest deploy/staging -p no:cacheprovider "$@" || exit $?
' test_vms "$@"
