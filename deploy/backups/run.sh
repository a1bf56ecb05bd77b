#!/bin/sh
# Run `backup` or `restore FOLDER` of this package by a Python that it runs with.
PYTHONPATH=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	echo "program_missing: deploy/$1 needs Python 3.11 or newer; set PYTHON to one" >&2
	exit 1
}
exec "$python" -P -m deploy.backups "$@"
