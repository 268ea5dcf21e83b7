# lib.bash
#	Throw-away servers for the scripts beside it: sourced, not run.
#
# A server refuses to run as root, so what touches one runs as the user
# postgres (as_server) in a directory that this user owns (make_workdir).
# Servers listen on a Unix socket in that directory and nowhere else, so any
# number of runs can go on at once and none can meet a real cluster.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}
install_lock=/run/lock/pg_cmk-install

# Settings of the caller's own session must not reach our servers.
unset PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE PGPASSFILE
export LC_ALL=C.UTF-8 PGTZ=UTC

die()
{
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# since TIME: the seconds from then, a value of EPOCHREALTIME, till now.
since()
{
	local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))

	printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# await SECONDS COMMAND …: until it succeeds, at most so long.
await()
{
	local limit=$((SECONDS + $1))

	until "${@:2}"; do
		[ "$SECONDS" -lt "$limit" ] || return 1
		sleep 0.1
	done
}

# Runs a command as the user that servers run as.
as_server()
{
	if [ "$(id -u)" = 0 ]; then
		runuser -u postgres -- "$@"
	else
		"$@"
	fi
}

# Needs pg_config; sets bindir and pkglibdir.
find_server()
{
	command -v "$PG_CONFIG" >/dev/null ||
		die "$PG_CONFIG not found: scripts/install-deps installs it"
	case $("$PG_CONFIG" --version) in
		"PostgreSQL 15."*) ;;
		*) die "PostgreSQL 15 is needed, $PG_CONFIG is of $("$PG_CONFIG" --version)" ;;
	esac
	bindir=$("$PG_CONFIG" --bindir)
	pkglibdir=$("$PG_CONFIG" --pkglibdir)
}

need_installed()
{
	[ -e "$pkglibdir/pg_cmk.so" ] && [ -e "$pkglibdir/pg_cmk_seam.so" ] ||
		die "pg_cmk is not installed: make && make install"
}

# make_regress_libraries SUITE DIR: what the server's regression suite, whose sources
# are in SUITE, loads from DIR.
make_regress_libraries()
{
	gcc -O1 -w -fPIC -shared -D_GNU_SOURCE \
		-I"$("$PG_CONFIG" --includedir-server)" -I"$("$PG_CONFIG" --includedir)" \
		-o "$2/regress.so" "$1/regress.c"
	cp "$pkglibdir/autoinc.so" "$pkglibdir/refint.so" "$2"
}

# A directory of the server's user; sets work.  Everything under it is removed
# at exit, and servers in it are stopped, unless keep_work is set.
make_workdir()
{
	cd /
	work=$(mktemp -d "${TMPDIR:-/tmp}/pg_cmk.XXXXXX")
	if [ "$(id -u)" = 0 ]; then
		chown postgres: "$work"
	fi
	chmod 700 "$work"
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap cleanup EXIT
}

cleanup()
{
	local pidfile

	trap '' HUP INT TERM
	[ -z "${keep_work:-}" ] || return 0
	stop_vault
	while read -r pidfile; do
		as_server "$bindir/pg_ctl" -D "$(dirname "$pidfile")" -m immediate \
			-s -w stop >/dev/null 2>&1 || true
	done < <(find "$work" -name postmaster.pid 2>/dev/null)
	rm -rf "$work"
}

# make_kek FILE: a KEK as a test or a small installation has it.
make_kek()
{
	as_server sh -c 'umask 077 && openssl genpkey -quiet -algorithm RSA \
		-pkeyopt rsa_keygen_bits:3072 -out "$1"' sh "$1"
}

# make_cluster DIR [initdb option…]: settings are read from standard input.
# The socket directory is DIR's parent, the port says which server it is.
make_cluster()
{
	local dir=$1

	shift
	as_server "$bindir/initdb" -D "$dir" -U postgres -A trust --no-sync \
		--no-instructions -E UTF8 --no-locale "$@" >"$dir.initdb.log" 2>&1 || {
		cat "$dir.initdb.log" >&2
		die "initdb failed"
	}
	{
		cat <<-CONF
			listen_addresses = ''
			unix_socket_directories = '$(dirname "$dir")'
		CONF
		cat
	} | as_server sh -c 'cat >> "$1/postgresql.conf"' sh "$dir"
}

# start_cluster DIR [pg_ctl option …]: not while an installation changes files
# under the server that starts.
start_cluster()
{
	(
		[ ! -r "$install_lock" ] || { exec 9<"$install_lock" && flock -s 9; }
		as_server "$bindir/pg_ctl" -D "$1" -l "$1.log" -s -w -t 120 "${@:2}" start 9<&-
	) || {
		tail -n 30 "$1.log" >&2
		die "the server in $1 does not start"
	}
}

# await_all_sealed LOG: until the server that writes LOG, in scope cluster, has sealed
# what it found plain when it started.
await_all_sealed()
{
	await 120 grep -q 'every relation file of the cluster is sealed' "$1" || {
		tail -n 30 "$1" >&2
		die "the cluster is not wholly sealed in time"
	}
}

stop_cluster()
{
	as_server "$bindir/pg_ctl" -D "$1" -s -w -m "${2:-fast}" stop
}

# start_vault SRC: the test vault of t/keyvault in the sources SRC; its files are
# in $work/vault.  It ends when its input does, so with this shell at the latest.
start_vault()
{
	vault_src=$1/t/keyvault
	coproc keyvault {
		exec runuser -u postgres -- node "$vault_src/server.js" --with-stdin \
			--dir "$work/vault" >"$work/vault.log" 2>&1
	}
	await 60 test -e "$work/vault/ready.json" || die "the test vault does not start"
}

stop_vault()
{
	local pid=${keyvault_PID:-} input=${keyvault[1]:-}

	[ -n "$pid" ] && [ -n "$input" ] || return 0
	eval "exec $input>&-"
	# A child that is a shell may have a copy of it.
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

# vault_ctl METHOD [NAME=VALUE …]: see t/keyvault/README.md.
vault_ctl()
{
	node "$vault_src/ctl.js" "$work/vault" "$@"
}

# build_and_install SRC LOG: builds a copy of the tree in SRC and installs it.
# The tree itself stays as it is.  One installation at a time; servers that run
# keep the files that they have open.
build_and_install()
{
	mkdir "$1"
	tar -C "$top" --exclude=./.git --exclude='*.o' --exclude='*.d' \
		--exclude='*.so' --exclude=./tmp_check --exclude=./results \
		--exclude='t/unit/*bin' --exclude=./build -cf - . | tar -C "$1" -xf -
	make -s -C "$1" -j2 PG_CONFIG="$PG_CONFIG" >"$2" 2>&1 &&
		flock "$install_lock" \
			make -s -C "$1" PG_CONFIG="$PG_CONFIG" install >>"$2" 2>&1
}
