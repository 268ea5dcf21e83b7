#!/bin/sh
#
# check_imports.sh
#	Compares docs/seam.md with what the server really imports, and with what
#	the seam really defines.
#
#	usage: check_imports.sh SEAM_LIBRARY [SERVER]
#
# Every function that the server takes from the C library must be in a table of
# docs/seam.md, or match a line of not_file_calls.txt, which somebody has looked
# at.  So a server version or build that begins to use another file call fails
# here, before it writes a page past the seam.  Every call that the document
# says is handled must be defined by the seam, and the reverse.

set -u
here=$(cd "$(dirname "$0")" && pwd)
doc=$here/../../../docs/seam.md
seam=$1
server=${2:-$("${PG_CONFIG:-pg_config}" --bindir)/postgres}
work=$(mktemp -d "${TMPDIR:-/tmp}/check_imports.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
bad=0

fail()
{
	echo "not ok - $*"
	bad=1
}

# Rows of the document's tables: | `call`, `call` | handled … | … |
rows() # PATTERN for the second column
{
	awk -F'|' -v want="$1" \
		'/^\| *`/ && $3 ~ want { n = split($2, a, "`");
			for (i = 2; i <= n; i += 2) print a[i] }' "$doc" | sort -u
}

rows '.' >"$work/listed"
rows '^ *handled' >"$work/handled"
sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$here/not_file_calls.txt" \
	>"$work/globs"

objdump -T "$server" | awk '/\*UND\*/ && /GLIBC/ { print $NF }' | sort -u \
	>"$work/imports"
[ -s "$work/imports" ] || fail "$server: no imports found"

while read -r name
do
	grep -qxF -e "$name" "$work/listed" && continue
	known=no
	while read -r glob
	do
		# shellcheck disable=SC2254
		case $name in $glob) known=yes; break;; esac
	done <"$work/globs"
	[ $known = yes ] || fail "$server imports $name, of which docs/seam.md says nothing"
done <"$work/imports"
[ $bad = 0 ] && echo "ok - docs/seam.md knows all $(wc -l <"$work/imports") calls that the server imports from libc"

bad=0
objdump -T "$seam" | awk '/\.text/ { print $NF }' |
	grep -vxF -e cmk_seam_register -e cmk_seam_file | sort -u >"$work/defined"
for name in $(comm -23 "$work/handled" "$work/defined")
do
	fail "docs/seam.md says that $name is handled; the seam does not define it"
done
for name in $(comm -13 "$work/handled" "$work/defined")
do
	fail "the seam defines $name; docs/seam.md does not say that it is handled"
done
[ $bad = 0 ] && echo "ok - the seam defines exactly the calls that docs/seam.md says it handles"

for name in cmk_seam_register cmk_seam_file
do
	if objdump -T "$seam" | grep -q "\.text.* $name\$"
	then
		echo "ok - the seam exports $name"
	else
		fail "the seam does not export $name"
	fi
done
