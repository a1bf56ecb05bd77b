#!/bin/sh
# Tell by the exit code whether the container tests can run here: root, and an engine that answers
# or can be had.
set -eu
[ "$(id -u)" = 0 ] || exit 1
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then exit 0; fi
# Else one is started: that takes Debian's packages, or that they are here already, and the rights
# to mount and route.
command -v dockerd >/dev/null || command -v apt-get >/dev/null || exit 1
unshare --mount --net true 2>/dev/null
