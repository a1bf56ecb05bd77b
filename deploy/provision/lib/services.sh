# shellcheck shell=sh
# The containers of a machine: their .env, their images, and the systemd unit that starts them after
# every boot.

# Run docker-compose, of either generation, in the folder $1.
compose() {
	compose_folder=$1
	shift
	if command -v docker-compose >/dev/null; then
		# The classic builder: Debian's docker.io has no BuildKit plug-in, and the first generation
		# would ask for it.
		(cd "$compose_folder" && DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 docker-compose "$@")
	else
		(cd "$compose_folder" && docker compose "$@")
	fi
}

# Write the .env of the folder $1 from standard input (lines that provisioning owns) and those
# further settings that the folder's .env.example explains.
write_env() {
	{
		echo "# Written by deploy/provision at every run: change /etc/idrl/machine.env or the machine's metadata."
		service_settings | while IFS= read -r line; do
			! grep -Eq "^#?${line%%=*}=" "$1/.env.example" || printf '%s\n' "$line"
		done
		cat
	} | write_file "$1/.env" 600
	twice=$(grep -v '^#' "$1/.env" | cut -d = -f 1 | sort | uniq -d | tr '\n' ' ')
	[ -z "$twice" ] || fail setting_owned "provisioning sets this itself, take it out of idrl-settings: $twice"
}

# Print the lines that every folder's .env has on the database; $1 is the role's name, $2 its
# password.
database_lines() {
	printf 'POSTGRES_HOST=%s\nPOSTGRES_PORT=%s\nPOSTGRES_DB=%s\n' \
		"$(setting idrl-database-host)" "$(setting idrl-database-port 5432)" "$(setting idrl-database-name idrl)"
	printf 'POSTGRES_USER=%s\nPOSTGRES_PASSWORD=%s\n' "$1" "$2"
	printf 'POSTGRES_SSLMODE=%s\n' "$(setting idrl-database-sslmode require)"
	! needs_ca || printf 'POSTGRES_CA=%s\n' "$IDRL_ETC/postgres-ca.pem"
}

# compose_file_line FILE…: print the line that names the folder's compose files, these included.
compose_file_line() {
	compose_files=docker-compose.yml
	! needs_ca || compose_files=$compose_files:ca.yml
	for compose_file; do
		compose_files=$compose_files:$compose_file
	done
	[ "$compose_files" = docker-compose.yml ] || echo "COMPOSE_FILE=$compose_files"
}

needs_ca() {
	case $(setting idrl-database-sslmode require) in verify-*) ;; *) return 1 ;; esac
}

# A certificate is no secret: the containers' user has to read it.
write_ca() {
	needs_ca || return 0
	certificate=$(pem idrl-postgres-ca)
	printf '%b\n' "$certificate" | write_mounted_file "$IDRL_ETC/postgres-ca.pem"
}

# build_image IMAGE FOLDER SERVICE: build it from the release, whose revision is the image's tag.
build_image() {
	REVISION=${1#*:} compose "$2" build "$3" >"$IDRL_OPT/build.log" 2>&1 || {
		tail -n 30 "$IDRL_OPT/build.log" >&2
		fail image_not_built "$1 could not be built; all of it is in $IDRL_OPT/build.log"
	}
}

# write_unit FOLDER [NEEDS_SHARE]: the unit that starts the containers of that folder at every boot.
write_unit() {
	before=
	after=
	if [ -n "${2:-}" ]; then
		before="ExecStartPre=/usr/bin/test -e /usr/remote_folder/.idrl-share"
		after="usr-remote_folder.automount usr-remote_folder.mount"
	fi
	echo "$1" | write_file "$IDRL_ETC/folder" 644
	write_unit_file idrl.service <<END
[Unit]
Description=idrl: the containers of $1
Requires=docker.service
Wants=network-online.target
After=docker.service network-online.target $after
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
$before
ExecStartPre=$IDRL_OPT/current/deploy/provision/guard-metadata
ExecStartPre=$IDRL_OPT/current/deploy/provision/guard-egress
ExecStartPre=$IDRL_OPT/current/deploy/provision/clamp-mss
ExecStart=$IDRL_OPT/current/deploy/provision/compose up -d --remove-orphans
# Settings and release may be others: so may the rules.
ExecReload=$IDRL_OPT/current/deploy/provision/guard-metadata
ExecReload=$IDRL_OPT/current/deploy/provision/guard-egress
ExecReload=$IDRL_OPT/current/deploy/provision/clamp-mss
ExecReload=$IDRL_OPT/current/deploy/provision/compose up -d --remove-orphans
ExecStop=$IDRL_OPT/current/deploy/provision/compose stop
TimeoutStartSec=900
TimeoutStopSec=120
# Try again until the share and the registry answer.
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
END
}

# Start the services, or bring what runs to the current release; wait until $1, an address such as
# http://10.0.0.4:5004, answers.
start_services() {
	echo "$1" | write_file "$IDRL_ETC/answers-at" 644
	systemctl --quiet enable idrl.service
	if ! systemctl --quiet is-active idrl.service || ! systemctl reload idrl.service; then
		systemctl restart idrl.service ||
			fail services_not_started "systemd keeps trying; see: journalctl -u idrl.service"
	fi
	# --insecure: the certificate of this machine's own services is for another name.
	curl --silent --output /dev/null --noproxy '*' --insecure --fail --max-time 10 --retry 1000 \
		--retry-delay 2 --retry-all-errors --retry-max-time "$IDRL_WAIT_S" "$1/health" ||
		fail services_not_healthy \
			"$1 does not answer after $IDRL_WAIT_S s; see: deploy/provision/compose logs"
}
