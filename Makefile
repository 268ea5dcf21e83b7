# Makefile of pg_cmk, on PGXS.
#
#	make                        builds pg_cmk.so, pg_cmk_seam.so and the command
#	                            pg_cmk
#	make install                into the server that pg_config names
#	make check-unit             unit tests; no server needed
#	make check-unit SANITIZE=1  the same with AddressSanitizer and UBSan
#	make installcheck           pg_regress tests against a running server that
#	                            preloads pg_cmk, then t/*.pl on servers of their
#	                            own; not as root (scripts/test does it all)
#	make conformance            the server's own regression suite, on a stock server
#	                            and in both scopes (SCOPE=cluster: in one)
#	make conformance-recovery PG_SRC=DIR [SCOPE=cluster] [SUITE=src/bin/pg_rewind]
#	                            its recovery tests, or another of its TAP suites
#	make bench
#
# The layers of the source tree are kept apart here too: only src/server (and
# seal/checksum.c, which compiles the server's checksum code) is given the
# server's include directory.  Its headers are system headers to the compiler,
# so that our warnings are about our code.

EXTENSION = pg_cmk
DATA = pg_cmk--1.0.sql
MODULE_big = pg_cmk

SERVER_OBJS = $(patsubst %.c,%.o,$(wildcard src/server/*.c))
PLAIN_OBJS = $(patsubst %.c,%.o,$(wildcard src/seal/*.c src/keyring/*.c src/vault/*.c))
CLI_OBJS = $(patsubst %.c,%.o,$(wildcard src/cli/*.c))
SEAM_OBJS = $(patsubst %.c,%.o,$(wildcard src/seam/*.c))
OBJS = $(SERVER_OBJS) $(PLAIN_OBJS)

# What pg_cmk_exec.so shares with the server.
TOOL_OBJS = $(patsubst %.c,%.o,$(wildcard src/exec/*.c))
EXEC_OBJS = $(TOOL_OBJS) $(filter src/seal/% src/keyring/%,$(PLAIN_OBJS)) \
	$(patsubst %,src/server/%.o,filekind rawio walfile walfile_write walkey)

SHLIB_LINK = -lcrypto -lssl -lcurl -lcjson -lz

PG_CFLAGS = -std=gnu99 -O2 -Wextra -Werror -MMD -MP
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server)

# The seam is a library of its own, and the command a program.
SEAM = pg_cmk_seam$(DLSUFFIX)
COMMAND = pg_cmk
EXEC = pg_cmk_exec$(DLSUFFIX)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=pg_cmk
TAP_TESTS = 1
EXTRA_CLEAN = $(EXEC) $(TOOL_OBJS) $(SEAM) $(SEAM_OBJS) $(COMMAND) $(CLI_OBJS) $(DEPS) results regression.diffs \
	regression.out tmp_check bench/pagecost

# Nothing of this is worth inlining into queries: no bitcode.
override with_llvm = no

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

DEPS = $(patsubst %.o,%.d,$(OBJS) $(CLI_OBJS) $(SEAM_OBJS) $(TOOL_OBJS))
-include $(wildcard $(DEPS))

all: $(SEAM) $(COMMAND) $(EXEC)

# The signatures of hooks and SQL functions are the server's, not ours.
$(SERVER_OBJS): CFLAGS += -Wno-unused-parameter

# As the server's own CPPFLAGS, without the include directories.
PLAIN_CPPFLAGS = -D_GNU_SOURCE -D_FORTIFY_SOURCE=2

$(PLAIN_OBJS) $(CLI_OBJS) $(TOOL_OBJS): %.o: %.c
	$(CC) $(CFLAGS) $(PLAIN_CPPFLAGS) -c -o $@ $<

src/seal/checksum.o: PLAIN_CPPFLAGS += -isystem $(includedir_server) \
	-isystem $(includedir_internal)
src/seal/checksum.o: CFLAGS += $(CFLAGS_UNROLL_LOOPS) $(CFLAGS_VECTORIZE)

# No fortification here: the seam defines the very functions that it replaces.
$(SEAM_OBJS): %.o: %.c
	$(CC) $(CFLAGS) -D_GNU_SOURCE -U_FORTIFY_SOURCE -c -o $@ $<

$(SEAM): $(SEAM_OBJS)
	$(CC) $(CFLAGS) -shared -o $@ $^ $(LDFLAGS) -ldl

# Nothing of it may be taken for the server module's: no name is exported.
$(EXEC): $(EXEC_OBJS) src/exec/hidden.map
	$(CC) $(CFLAGS) -shared -o $@ $(EXEC_OBJS) -Wl,--version-script=src/exec/hidden.map \
		$(LDFLAGS) -lcrypto -lcjson -ldl

src/cli/exec.o: PLAIN_CPPFLAGS += -DCMK_PKGLIBDIR='"$(pkglibdir)"'
src/cli/main.o: pg_cmk.control
src/cli/main.o: PLAIN_CPPFLAGS += -DCMK_VERSION='"$(shell \
	sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)"'

$(COMMAND): $(CLI_OBJS) $(PLAIN_OBJS) src/server/filekind.o
	$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(SHLIB_LINK)

# A changed list of sources or of flags must be seen too.
$(OBJS) $(CLI_OBJS) $(SEAM_OBJS) $(TOOL_OBJS): Makefile

.PHONY: install-seam install-command uninstall-seam
install: install-seam install-command
install-seam: $(SEAM) $(EXEC) installdirs
	$(INSTALL_SHLIB) $(SEAM) '$(DESTDIR)$(pkglibdir)/$(SEAM)'
	$(INSTALL_SHLIB) $(EXEC) '$(DESTDIR)$(pkglibdir)/$(EXEC)'
install-command: $(COMMAND) installdirs
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(COMMAND) '$(DESTDIR)$(bindir)/$(COMMAND)'

uninstall: uninstall-seam
uninstall-seam:
	rm -f '$(DESTDIR)$(pkglibdir)/$(SEAM)' '$(DESTDIR)$(pkglibdir)/$(EXEC)' '$(DESTDIR)$(bindir)/$(COMMAND)'

.PHONY: check-unit conformance conformance-recovery bench format-check
UNIT_DIRS = t/unit t/unit/seam
check-unit:
	@status=0; \
	for dir in $(UNIT_DIRS); do \
		$(MAKE) -C $$dir check || status=1; \
	done; \
	exit $$status
clean: clean-unit
.PHONY: clean-unit
clean-unit:
	for dir in $(UNIT_DIRS); do $(MAKE) -C $$dir clean || exit; done

conformance conformance-recovery:
	PG_CONFIG='$(PG_CONFIG)' scripts/$@

bench: bench/pagecost
	PG_CONFIG='$(PG_CONFIG)' bench/run

# What one page costs, without a server: bench/run prints it.
SEAL_OBJS = $(filter src/seal/%,$(PLAIN_OBJS))
bench/pagecost: bench/pagecost.c $(SEAL_OBJS)
	$(CC) $(filter-out -MMD -MP -fPIC,$(CFLAGS)) -D_GNU_SOURCE -o $@ $^ -lcrypto

# Advice, not law: clang-format cannot say all of the server's layout.
format-check:
	clang-format --dry-run $(wildcard src/*/*.[ch] bench/*.c)
