# shellcheck shell=bash
# What the scripts of this folder share: the project, its buckets, and how they report.
# They also run with bash 3.2, the one of macOS: no empty array is expanded.

gcp=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(cd "$gcp/../.." && pwd -P)
# shellcheck disable=SC2034 # used by tf and release
cache=$checkout/.cache/gcp
# shellcheck disable=SC2034 # used by secrets and down
secrets=(idrl-jwt-private-key idrl-jwt-public-key idrl-postgres-owner-password
	idrl-postgres-web-password idrl-postgres-worker-password idrl-redis-password)
# Between two tries of a call that Google refuses for a while; tests do not wait.
retry_s=${IDRL_RETRY_S:-10}

say() {
	printf 'idrl: %s\n' "$*" >&2
}

# fail CODE SENTENCE
fail() {
	printf 'idrl: %s: %s\n' "$1" "$2" >&2
	exit 1
}

# need_project NAME: set `project` and its buckets, or end with how the script is used.
need_project() {
	project=${1:-}
	[[ $project =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
		fail project_invalid "give the id of a Google Cloud project: ${0##*/} my-project-123456 …"
	local program
	for program in git openssl terraform python3 curl gcloud; do
		command -v "$program" >/dev/null || fail program_missing "$program is not installed"
	done
	state_bucket=gs://$project-idrl-state
	# shellcheck disable=SC2034 # used by release and down
	release_bucket=gs://$project-idrl-releases
	# shellcheck disable=SC2034 # used by tf and settings
	kept_settings=$state_bucket/idrl.tfvars
}

# retry TRIES COMMAND…: run it until it succeeds; after that many tries return its exit code.
retry() {
	local left=$1 code
	shift
	while :; do
		"$@" && return
		code=$?
		left=$((left - 1))
		[ "$left" -gt 0 ] || return "$code"
		sleep "$retry_s"
	done
}

# bucket_exists URL: an error other than "there is none" ends the run.
bucket_exists() {
	local answer
	answer=$(gcloud storage buckets list --project="$project" --format='value(name)') ||
		fail buckets_unreadable "the buckets of $project cannot be listed"
	grep -qx "${1#gs://}" <<<"$answer"
}

# object_exists URL: the same for an object in a bucket that exists.
object_exists() {
	local answer
	answer=$(gcloud storage ls "${1%/*}/**" --project="$project" 2>&1) ||
		case $answer in *'matched no objects'*) return 1 ;; *) fail bucket_unreadable "$answer" ;; esac
	grep -qx "$1" <<<"$answer"
}

services=(artifactregistry cloudbuild cloudresourcemanager compute iam iap logging monitoring oslogin
	secretmanager servicenetworking serviceusage sqladmin storage)

# Turn on what the system uses of Google Cloud. For some minutes after that, calls are refused.
enable_services() {
	local call
	say "turning on the services of Google Cloud"
	retry 3 gcloud services enable "${services[@]/%/.googleapis.com}" --project="$project"
	for call in 'secrets list' 'compute networks list' 'sql instances list' \
		'iam service-accounts list' 'storage buckets list'; do
		# shellcheck disable=SC2086 # words
		retry 30 gcloud $call --project="$project" --format=none 2>/dev/null ||
			fail services_not_enabled "gcloud $call is refused for $project: is billing linked?"
	done
}
