# shellcheck shell=sh
# The images of a release: pulled from the registry by the digests that the release names, or built
# on the machine where it names none or the registry does not answer.

# need_image IMAGE COMMAND…: have the image idrl-NAME:REVISION on this machine; the command builds
# it.
need_image() {
	! docker image inspect "$1" >/dev/null 2>&1 || return 0
	! pull_image "$1" || return 0
	say "building $1"
	shift
	"$@"
}

# Pull what the release names for the image $1, and tag it so; fail where it names nothing, and
# where the registry does not give it.
pull_image() {
	image_name=${1%:*}
	reference=$(sed -n "s/^${image_name#idrl-}=//p" \
		"$IDRL_OPT/releases/${1##*:}/images" 2>/dev/null)
	[ -n "$reference" ] || return 1
	say "pulling $1"
	# A registry that stops in the middle must not stop the machine: it can build the image itself.
	# The login, valid for an hour, goes into a temporary folder instead of root's configuration.
	login=$(mktemp -d)
	pulled=no
	if {
		registry_login "${reference%%/*}" &&
			timeout "$IDRL_WAIT_S" docker --config "$login" pull --quiet "$reference" 2>&1
	} >"$IDRL_OPT/pull.log"; then
		docker tag "$reference" "$1" && pulled=yes
	else
		say "image_not_pulled: $reference, see $IDRL_OPT/pull.log; it is built here instead"
	fi
	rm -r "$login"
	[ "$pulled" = yes ]
}

# Google's registry takes the token of the machine's service account; others are open.
registry_login() {
	case $1 in *.pkg.dev) ;; *) return 0 ;; esac
	registry_token=$(metadata instance/service-accounts/default/token |
		json_field access_token 2>/dev/null) || return 1
	printf '%s' "$registry_token" |
		docker --config "$login" login --username oauth2accesstoken --password-stdin \
			"https://$1" 2>&1
}
