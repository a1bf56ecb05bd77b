# shellcheck shell=sh
# The schema of the database, which the web machine brings up to date before it starts.

# migrate RELEASE REVISION OWNERS_PASSWORD WEBS_PASSWORD WORKERS_PASSWORD: run the migration until
# the database takes it; each try waits a minute for a connection. The owner's password is in
# psg/.env only meanwhile.
migrate() {
	migration=$1/psg
	trap 'rm -f "$migration/.env"' EXIT
	trap 'exit 1' HUP INT TERM
	{
		database_lines "$(setting idrl-database-user postgres)" "$3"
		compose_file_line
		printf 'WEB_DB_PASSWORD=%s\nWORKER_DB_PASSWORD=%s\nLOCAL_POSTGRES=0\nMIGRATE_IMAGE=%s\n' \
			"$4" "$5" "idrl-psg:$2"
	} | write_env "$migration"
	need_image "idrl-psg:$2" build_image "idrl-psg:$2" "$migration" migrate
	say "bringing the schema of the database up to date"
	deadline=$(($(date +%s) + IDRL_WAIT_S))
	until compose "$migration" run -T --rm --no-deps migrate </dev/null >"$IDRL_OPT/migrate.log" 2>&1; do
		tail -n 2 "$IDRL_OPT/migrate.log" >&2
		[ "$(date +%s)" -lt "$deadline" ] ||
			fail database_not_migrated "given up after $IDRL_WAIT_S s; the whole of the last try is in $IDRL_OPT/migrate.log"
		say "the database does not take it yet; trying again"
		sleep 2
	done
	rm -f "$migration/.env"
	trap - EXIT HUP INT TERM
}
