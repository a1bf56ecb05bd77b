#!/bin/sh
# Say which commit this image is, make the folders that live in memory, then become the command.
set -eu
: "${REVISION:=$(cat /app/revision)}"
export REVISION
[ -z "${PROMETHEUS_MULTIPROC_DIR:-}" ] || mkdir -p "$PROMETHEUS_MULTIPROC_DIR"
exec "$@"
