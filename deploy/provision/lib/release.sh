# shellcheck shell=sh
# The release: a checkout in /opt/idrl/releases/REVISION, with /opt/idrl/current pointing at the one
# that runs.

# Print the revision of the checkout $1: the setting, else its git commit, else the name of its
# folder.
revision_of() {
	revision=$(setting idrl-revision)
	[ -n "$revision" ] || [ ! -e "$1/.git/HEAD" ] || revision=$(sh "$1/containers/revision.sh" "$1/.git")
	[ -n "$revision" ] || [ "$(dirname "$1")" != "$IDRL_OPT/releases" ] || revision=$(basename "$1")
	[ -n "$revision" ] || fail setting_missing "not set: idrl-revision (in $IDRL_ETC/machine.env: IDRL_REVISION=…), and $1 is not a git checkout"
	printf '%s' "$revision"
}

# copy_release CHECKOUT REVISION: copy it to its place unless it lies there.
copy_release() {
	target=$IDRL_OPT/releases/$2
	mkdir -p "$IDRL_OPT/releases"
	if [ "$1" != "$target" ]; then
		say "copying $1 to $target"
		rm -rf "$target.new"
		mkdir "$target.new"
		# A pipe ends as its last command does: a checkout that cannot be read whole is noticed by
		# this file alone.
		rm -f "$IDRL_OPT/whole-copy"
		{
			tar -C "$1" --exclude=./.git --exclude=./.venv --exclude=./.cache --exclude=./.idrl \
				--exclude=.env -cf - . && : >"$IDRL_OPT/whole-copy"
		} | tar -C "$target.new" --no-same-owner -xf -
		[ -e "$IDRL_OPT/whole-copy" ] ||
			fail release_not_copied "$1 could not be read whole, or changed meanwhile: run it again"
		# Containers have some of it mounted, and their users read it as others: a checkout made with
		# a strict umask is closed to them.
		chmod -R go+rX "$target.new"
		# What is there may be running: its .env files and bind mounts go on, and its content is the
		# same revision's.
		if [ -d "$target" ]; then
			cp -R "$target.new/." "$target/"
			rm -rf "$target.new"
		else
			mv "$target.new" "$target"
		fi
	fi
}

# use_release REVISION: make it the current one. Only once its .env and its images are there, since
# a machine that restarts in between starts the current one.
use_release() {
	previous=$(readlink "$IDRL_OPT/current" || true)
	# A link is replaced in one step by a rename, so that it always leads somewhere.
	ln -sfn "releases/$1" "$IDRL_OPT/current.new"
	mv -T "$IDRL_OPT/current.new" "$IDRL_OPT/current"
	[ "$previous" = "releases/$1" ] || ln -sfn "${previous:-releases/$1}" "$IDRL_OPT/previous"
}

# Keep this release and the one before, to go back to; remove the others, their images, and what
# building left behind: unnamed stages of 0.5 to 1 GB each, which would fill the disk.
remove_old_releases() {
	for folder in "$IDRL_OPT"/releases/*; do
		name=$(basename "$folder")
		case releases/$name in
		"$(readlink "$IDRL_OPT/current")" | "$(readlink "$IDRL_OPT/previous" || true)") continue ;;
		esac
		say "removing release $name"
		rm -rf "$folder"
		for image in web worker psg certbot; do
			docker image rm "idrl-$image:$name" >/dev/null 2>&1 || true
		done
	done
	! command -v docker >/dev/null || docker image prune --force >/dev/null 2>&1 || true
}
