#!/usr/bin/env bash
# Print the path of promtool: the machine's, or the one of Debian's package, unpacked into .cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
if found=$(command -v promtool); then
    echo "$found"
    exit
fi
tool=$PWD/.cache/promtool/usr/bin/promtool
if [ ! -x "$tool" ]; then
    command -v apt-get >/dev/null || { echo "no promtool, and no apt-get to get it" >&2; exit 1; }
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && dpkg-deb -x prometheus_*.deb unpacked) >&2
    mkdir -p .cache/promtool/usr/bin
    mv "$folder/unpacked/usr/bin/promtool" "$tool"
fi
echo "$tool"
