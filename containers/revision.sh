#!/bin/sh
# Print the commit that is checked out in the .git folder $1, without git; "unknown" without one.
set -eu
head=$(cat "$1/HEAD" 2>/dev/null || echo unknown)
case $head in
'ref: '*)
	ref=${head#ref: }
	cat "$1/$ref" 2>/dev/null ||
		{ grep -s " $ref\$" "$1/packed-refs" || echo unknown; } | cut -d ' ' -f 1
	;;
*) echo "$head" ;;
esac
