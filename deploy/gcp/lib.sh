# shellcheck shell=bash
# What the scripts of this folder share: the project they were given, and how they speak.

gcp=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(cd "$gcp/../.." && pwd -P)
# shellcheck disable=SC2034 # used by tf
cache=$checkout/.cache/gcp
# shellcheck disable=SC2034 # used by secrets and down
secrets=(idrl-jwt-private-key idrl-jwt-public-key idrl-postgres-owner-password idrl-postgres-web-password
	idrl-postgres-worker-password idrl-redis-password)

say() {
	printf 'idrl: %s\n' "$*"
}

# fail CODE SENTENCE
fail() {
	printf 'idrl: %s: %s\n' "$1" "$2" >&2
	exit 1
}

# need_project NAME: set `project`, or end with how the script is used.
need_project() {
	project=${1:-}
	[[ $project =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
		fail project_invalid "give the id of a Google Cloud project first: ${0##*/} my-project-123456 …"
	local program
	for program in git openssl terraform gcloud; do
		command -v "$program" >/dev/null || fail program_missing "$program is needed, and not installed"
	done
}
