#!/usr/bin/env bash
# Runs `make demo` on each supported Python that the machine has, each in a copy of the tree of its
# own. The Python of this tree's .venv is left out: `make demo` itself covers it.
set -euo pipefail
cd "$(dirname "$0")/.."

supported=(3.11 3.12 3.13)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Print the path of an interpreter of this version that can make an environment; fail where there is
# none.
interpreter() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# Copy every file that git tracks, as it is in this tree, into a folder whose name has a space.
copy_tree() {
    mkdir "$1"
    git ls-files -z | tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory="$1"
}

demo() {
    local tree="$work/Python $1"
    copy_tree "$tree"
    printf -- '--> make demo PYTHON=%s\n' "$2"
    env -u IDRL_HOME -u MAKEFLAGS -u MAKELEVEL make --no-print-directory --directory="$tree" demo PYTHON="$2"
    rm -rf "$tree"
}

ours=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for version in "${supported[@]}"; do
    if [ "$version" = "$ours" ]; then
        printf 'Python %s: this tree has it, see make demo\n' "$version"
    elif python=$(interpreter "$version"); then
        demo "$version" "$python"
    else
        printf 'Python %s: skipped, it is not on this machine\n' "$version"
    fi
done
