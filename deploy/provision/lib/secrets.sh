# shellcheck shell=sh
# Secrets: from /etc/idrl/secrets.env where they are given by hand, else from Secret Manager. They
# are never printed, never an argument of a program (where a list of processes would show them), and
# only stored in a service's .env.

# Print the field of the JSON document on standard input that the names lead to.
json_field() {
	python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]:
    value = value[name]
print(value)' "$@"
}

# Print the body of an answer to this machine's service account. New rights take minutes to arrive:
# it is tried again.
authorized_get() {
	access_token=$(metadata instance/service-accounts/default/token | json_field access_token 2>/dev/null) ||
		fail no_service_account "the metadata server gives no access token: the machine needs a service account"
	printf 'header = "Authorization: Bearer %s"\n' "$access_token" |
		curl --config - --silent --show-error --fail --max-time 60 --retry 1000 --retry-delay 1 --retry-all-errors \
			--retry-max-time "$IDRL_WAIT_S" "$1"
}

# A key or certificate has many lines; a service's .env takes it as one, with \n for each line
# break.
one_line() {
	awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
}

check_secrets_file() {
	[ -e "$IDRL_ETC/secrets.env" ] || return 0
	[ "$(stat -L -c %a "$IDRL_ETC/secrets.env")" = 600 ] ||
		fail secrets_readable "others may read $IDRL_ETC/secrets.env: chmod 600 it"
}

# Print the secret $1 in one line; fails when there is none.
secret() {
	by_hand=$(sed -n "s/^$(variable_of "$1")=//p" "$IDRL_ETC/secrets.env" 2>/dev/null | tail -n 1)
	if [ -n "$by_hand" ]; then
		printf '%s' "$by_hand"
		return
	fi
	project=$(metadata project/project-id 2>/dev/null) ||
		fail secret_missing "$1 is not in $IDRL_ETC/secrets.env (as $(variable_of "$1")=…), and no metadata server leads to Secret Manager"
	address=$(setting idrl-secrets-url https://secretmanager.googleapis.com)
	answer=$(authorized_get "$address/v1/projects/$project/secrets/$1/versions/latest:access") ||
		fail secret_missing "Secret Manager does not give $1: does it have a version, and may this machine's service account read it?"
	printf '%s' "$answer" | json_field payload data | base64 -d | one_line
}

# The same for a password, which also has to stand in addresses and .env files as it is.
password() {
	found=$(secret "$1") || exit 1
	case $found in
	*[!A-Za-z0-9._~-]*) fail secret_invalid "$1 may only hold letters, digits and . _ ~ -" ;;
	?????????*) printf '%s' "$found" ;;
	*) fail secret_invalid "$1 is shorter than nine characters" ;;
	esac
}

# The same for a key or a certificate.
pem() {
	found=$(secret "$1") || exit 1
	case $found in
	*[\'\"\$\`]*) fail secret_invalid "$1 is not PEM text" ;;
	'-----BEGIN '*'-----'*) printf '%s' "$found" ;;
	*) fail secret_invalid "$1 is not PEM text: it must begin with -----BEGIN" ;;
	esac
}
