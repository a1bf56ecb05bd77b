#!/bin/sh
# Print yes where uv can keep its cache in the home, as it does by default.
cache=${XDG_CACHE_HOME:-${HOME:-/nowhere}/.cache}
for folder in "$cache/uv" "$cache" "$(dirname "$cache")"; do
    if [ -e "$folder" ]; then
        [ ! -w "$folder" ] || echo yes
        break
    fi
done
