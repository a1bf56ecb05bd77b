#!/usr/bin/env bash
# Build the wheels of the client and the apps from the tree in the current folder into the folder $1.
# The times in them are those of the commit (SOURCE_DATE_EPOCH), so two builds are the same bytes.
set -euo pipefail

target=$1
bin=${BIN:-.venv/bin}
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
umask 022

for member in clients/python common psg web-server worker-server; do
    "$bin/uv" build --quiet --wheel --no-build-isolation --python "$bin/python" --no-create-gitignore \
        --out-dir "$target" "./$member"
done
