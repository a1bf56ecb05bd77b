# shellcheck shell=sh
# The machine's settings: /etc/idrl/machine.env, written by hand or from the attributes that a
# metadata server gives.

metadata_url=${IDRL_METADATA_URL:-$(sed -n 's/^IDRL_METADATA_URL=//p' "$IDRL_ETC/machine.env" 2>/dev/null | tail -n 1)}
metadata_url=${metadata_url:-http://metadata.google.internal}
# Every attribute that may be given; idrl-settings holds further lines and is handled apart.
attributes="idrl-role idrl-releases-url idrl-release-url idrl-release-sha256 idrl-revision
	idrl-tasks-host idrl-file-host idrl-database-host idrl-database-port idrl-database-name
	idrl-database-user idrl-database-sslmode idrl-first-worker idrl-worker-subnet idrl-data-disk
	idrl-secrets-url idrl-tls-name idrl-tls-email idrl-acme-server idrl-internal-tls
	idrl-ops-agent"

# metadata PATH [OPTION…]: print what the metadata server says of it; fails when it does not answer,
# or knows nothing of it. Errors that pass are waited for.
metadata() {
	metadata_path=$1
	shift
	curl --silent --fail --noproxy '*' --connect-timeout 2 --max-time 10 --retry 3 --retry-delay 1 \
		--header 'Metadata-Flavor: Google' "$@" "$metadata_url/computeMetadata/v1/$metadata_path"
}

# Print the attribute $1 after $2; nothing where there is none. One that cannot be read ends the
# run: without it, the machine would have the default of a setting that has another value.
attribute() {
	if attribute_value=$(metadata "instance/attributes/$1" 2>/dev/null); then
		printf '%s%s\n' "$2" "$attribute_value"
	elif [ "$(metadata "instance/attributes/$1" --output /dev/null --write-out '%{http_code}')" != 404 ]; then
		fail metadata_unreadable "$1: the metadata server does not answer"
	fi
}

# Print the lines of the settings' file that a metadata server gives.
given_settings() {
	echo "# Written from this machine's metadata, at every boot and every run: change it there."
	echo "IDRL_METADATA_URL=$metadata_url"
	for attribute in $attributes; do
		attribute "$attribute" "$(variable_of "$attribute")="
	done
	attribute idrl-settings ''
}

# idrl-tasks-host is IDRL_TASKS_HOST in the file.
variable_of() {
	printf '%s' "$1" | tr 'a-z-' 'A-Z_'
}

# Print the value of the setting $1 (idrl-tasks-host), else $2.
setting() {
	setting_value=$(sed -n "s/^$(variable_of "$1")=//p" "$IDRL_ETC/machine.env" 2>/dev/null | tail -n 1)
	printf '%s' "${setting_value:-${2:-}}"
}

# If a metadata server knows this machine's role, write the instance's attributes to machine.env;
# otherwise keep the file.
load_settings() {
	if metadata instance/attributes/idrl-role >/dev/null 2>&1; then
		given=$(given_settings)
		printf '%s\n' "$given" | write_file "$IDRL_ETC/machine.env" 600
	fi
	[ -r "$IDRL_ETC/machine.env" ] ||
		fail settings_missing "there is no $IDRL_ETC/machine.env and no metadata server: deploy/provision/README.md lists what to write"
}

# need_settings ROLE NAME...: end with the names of all that are missing, not with the first one's
# only.
need_settings() {
	needing_role=$1
	shift
	given_role=$(setting idrl-role "$needing_role")
	[ "$given_role" = "$needing_role" ] ||
		fail role_mismatch "idrl-role is $given_role: this machine is not meant to be a $needing_role machine"
	missing=
	for name in "$@"; do
		[ -n "$(setting "$name")" ] || missing="$missing $name"
	done
	[ -z "$missing" ] || fail setting_missing "not set for a $needing_role machine:$missing (in $IDRL_ETC/machine.env: $(
		for name in $missing; do printf '%s=… ' "$(variable_of "$name")"; done
	)or instance attributes)"
}

# check_setting NAME PATTERN WHAT: an empty value passes, anything but WHAT ends the run.
check_setting() {
	checked=$(setting "$1")
	[ -z "$checked" ] || printf '%s\n' "$checked" | grep -Eqx "$2" || fail setting_invalid "$1 must be $3, not '$checked'"
}

check_common_settings() {
	check_setting idrl-revision '[A-Za-z0-9][A-Za-z0-9._-]{0,99}' 'a git revision or another name of letters and digits'
	for name in idrl-tasks-host idrl-file-host idrl-database-host; do
		check_setting "$name" '[A-Za-z0-9][A-Za-z0-9.-]*' 'a host name or an address'
	done
	check_setting idrl-database-port '[0-9]{1,5}' 'a port'
	check_setting idrl-database-name '[A-Za-z0-9_-]+' 'the name of a database'
	check_setting idrl-database-user '[A-Za-z0-9_-]+' 'the name of a database user'
	check_setting idrl-database-sslmode 'disable|allow|prefer|require|verify-ca|verify-full' "one of libpq's modes"
	check_setting idrl-first-worker '0|1' '1 on the first worker machine, 0 on the others'
	check_setting idrl-secrets-url 'https?://[A-Za-z0-9.-]+(:[0-9]+)?' 'an address without a path'
	check_setting idrl-tls-name '[A-Za-z0-9][A-Za-z0-9.-]*' 'a DNS name or an IPv4 address'
	check_setting idrl-tls-email '[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+' 'a mail address'
	check_setting idrl-acme-server 'https://[A-Za-z0-9./:_-]+' "the https address of an ACME directory"
	check_setting idrl-ops-agent '0|1' '1 to install the Ops Agent of Google Cloud'
}

# The lines that are no settings of the machine are for the services: FETCH_ALLOW_HOSTS=…,
# AUTH_RATE=…
service_settings() {
	grep -Ev '^(IDRL_[A-Z0-9_]*=|[[:space:]]*(#|$))' "$IDRL_ETC/machine.env" || true
}

# What provisioning has to know or to make itself, and what only the image can say: given as a
# further setting it would be ignored, or contradict the settings of the other machines.
owned_settings='POSTGRES_(HOST|PORT|DB|USER|PASSWORD|SSLMODE|CA|BIND|PUBLISHED_PORT)|JWT_[A-Z_]+
LOCAL_POSTGRES|(WEB|WORKER)_DB_PASSWORD|TASKS_(URL|CA|PORT|TLS_PORT)
REDIS_(URL|CA|PASSWORD|PORT|TLS_PORT)|TLS_[A-Z]+|HTTPS?_PORT|ACME_WEBROOT
(WEB|WORKER|MIGRATE)_IMAGE|FIRST_WORKER|RENDER_BRIDGE|(REMOTE|SCRATCH|PROCESS)_FOLDER
REVISION|OPENAPI_PATH|ACCEL_REDIRECT|CLIP_CACHE_DISK'

# check_service_settings EXAMPLE...: each must be one of those that the .env.example files explain.
check_service_settings() {
	service_settings | while IFS= read -r line; do
		name=${line%%=*}
		printf '%s\n' "$line" | grep -Eq '^[A-Z][A-Z0-9_]*=' || fail setting_invalid "in idrl-settings '$name' is not KEY=value"
		grep -Eqh "^#?$name=" "$@" || fail setting_unknown "no service here knows $name: see $*"
		case ${line#*=} in
		*[\'\"\$\`\\]*) fail setting_invalid "$name holds a quote, a dollar or a backslash" ;;
		'#'* | *[[:space:]]'#'*) fail setting_invalid "$name holds a #, at which docker-compose would end it" ;;
		esac
	done
	twice=$(service_settings | cut -d = -f 1 | sort | uniq -d | tr '\n' ' ')
	[ -z "$twice" ] || fail setting_invalid "given twice in idrl-settings: $twice"
	owned=$(service_settings | cut -d = -f 1 | grep -Ex "$owned_settings" | sort -u | tr '\n' ' ' || true)
	[ -z "$owned" ] ||
		fail setting_owned "provisioning sets this itself, take it out of idrl-settings: $owned"
}
