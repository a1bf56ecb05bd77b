#!/bin/sh
# Pin every base image to the digest that its tag has at the registry now, in all files that name it.
# deploy/supply/images.txt lists the tags; run again, this raises the digests. Needs docker.
# FILES can name other files than the checkout's, for tests.
set -eu
cd "$(dirname "$0")/../.."

files=${FILES:-"web-server/Dockerfile worker-server/Dockerfile psg/Dockerfile file-server/Dockerfile
	deploy/provision/certbot/Dockerfile deploy/provision/lib/tls.sh
	web-server/services.yml worker-server/services.yml psg/services.yml file-server/docker-compose.yml
	web-server/.env.example worker-server/.env.example psg/.env.example file-server/.env.example"}

digest_of() {
	docker pull --quiet "$1" >/dev/null
	docker image inspect --format '{{join .RepoDigests "\n"}}' "$1" | sed -n 's/.*@\(sha256:[0-9a-f]\{64\}\)$/\1/p' | head -n 1
}

# All digests first: if an image cannot be pulled, no file is changed.
script=
while read -r image; do
	case $image in '' | '#'*) continue ;; esac
	digest=$(digest_of "$image") || digest=
	if [ -z "$digest" ]; then
		echo "the registry gives no digest of $image: nothing is changed" >&2
		exit 1
	fi
	echo "$image@$digest"
	pattern=$(printf '%s' "$image" | sed 's/[.]/\\./g')
	script="$script
s|\\([=-]\\)$pattern\\(@sha256:[0-9a-f]\\{64\\}\\)\\{0,1\\}\\([}\"]\\{0,1\\}\\)|\\1$image@$digest\\3|"
done <deploy/supply/images.txt
for file in $files; do
	sed -i "$script" "$file"
done
