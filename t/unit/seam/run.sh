#!/bin/sh
#
# run.sh
#	Runs the scenarios of the seam's unit test and counts their checks.
#
#	usage: run.sh BUILD_DIRECTORY
#
# Each scenario is a process of its own, started with the seam preloaded in an
# empty directory of its own.  A scenario that does not reach its last line has
# failed, whatever it printed before.

set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd) || exit 2
seam=$build/pg_cmk_seam.so
early=$build/early.so
scratch=$(mktemp -d "${TMPDIR:-/tmp}/test_seam.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT

# scenario TITLE NAME COMMAND...: runs COMMAND with the scenario's directory as
# its last argument; NAME is what it prints when it is done.
scenario()
{
	title=$1 name=$2
	shift 2
	dir=$scratch/dir
	rm -rf "$dir" && mkdir "$dir"
	echo "# $title"
	"$@" "$dir" >"$scratch/out" 2>"$scratch/err"
	code=$?
	sed '/^done - /d' "$scratch/out" | tee -a "$scratch/all"
	if ! grep -q "^done - $name\$" "$scratch/out"
	then
		echo "not ok - $title ended early, exit code $code" | tee -a "$scratch/all"
		sed 's/^/#   /' "$scratch/err"
	fi
}

all='passthrough errors errors-registered passthrough-registered register open
	names close refused signal fork thread sizes'

for s in $all
do
	scenario "$s" "$s" env LD_PRELOAD="$seam" "$build/test_seam" "$s"
done

# What the address and undefined-behaviour sanitizers can watch: the test and
# the seam as one program.
for s in $all
do
	scenario "$s, under the sanitizers" "$s" \
		env ASAN_OPTIONS=detect_leaks=0 "$build/test_seam_sanitized" "$s"
done

scenario 'descriptors beyond the limit' limit \
	env LD_PRELOAD="$build/pg_cmk_seam_1024.so" "$build/test_seam_1024" limit

# The environment: preloaded by the server with and without an older
# LD_PRELOAD, with an empty one, and by hand.
export test_seam_variable=here
scenario 'preloaded, nothing before' env \
	env LD_PRELOAD="$seam" PG_CMK_SEAM_NO_PRELOAD=1 "$build/test_seam" env unset
scenario 'preloaded, a library before' env \
	env LD_PRELOAD="$seam:$early" PG_CMK_SEAM_OLD_PRELOAD="$early" \
	"$build/test_seam" env "value=$early"
scenario 'preloaded, an empty variable before' env \
	env LD_PRELOAD="$seam:" PG_CMK_SEAM_OLD_PRELOAD= \
	"$build/test_seam" env value=
scenario 'preloaded by hand' env \
	env LD_PRELOAD="$seam" "$build/test_seam" env "value=$seam"

echo '# documentation'
"$here/check_imports.sh" "$seam" | tee -a "$scratch/all"

passed=$(grep -c '^ok - ' "$scratch/all")
failed=$(grep -c '^not ok - ' "$scratch/all")
echo "unit seam: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
