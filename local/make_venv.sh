#!/bin/sh
# Makes the environment for `make setup`: make_venv.sh PYTHON FOLDER [given]. With `given`, the
# caller has chosen this Python, so an environment of another version is made again.
set -eu

python=$1 folder=$2 given=${3:-}
newer="set PYTHON to one, for example: make setup PYTHON=python3.12"

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
# Python puts pip there last: without it the making was interrupted.
is_whole() { "$1" -c 'import pip' 2>/dev/null; }
is_supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

if [ -x "$folder/bin/python" ] && is_supported "$folder/bin/python" && is_whole "$folder/bin/python"; then
    if [ -z "$given" ] || [ "$(version_of "$folder/bin/python")" = "$(version_of "$python")" ]; then
        exit 0
    fi
fi
found=$(version_of "$python") || fail "idrl needs Python 3.11 or newer, and there is no $python: $newer"
is_supported "$python" || fail "idrl needs Python 3.11 or newer, and $python is $found: $newer"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make environments: install its venv package (Debian: apt install python$found-venv)"
if [ -e "$folder" ]; then
    printf 'making %s again with Python %s\n' "$folder" "$found" >&2
fi
"$python" -m venv --clear "$folder"
