#!/usr/bin/env bash
# Runs a command with a PostgreSQL server to test against:   scripts/with-postgres.sh cargo nextest run
#
# Takes the server of TRUNKLINE_TEST_POSTGRES, else the one at 127.0.0.1:5432 when the user may create databases
# there, else starts one of its own in a temporary directory and removes it afterwards. Root without the programs
# installs them where there is apt-get. Without any: says so and runs the command, whose tests then skip (or fail,
# with CI=true).
set -euo pipefail

user=$(id -un)

bin() { # the folder of the server's programs; Debian keeps them out of PATH
  local initdb
  for initdb in "$(command -v initdb || true)" $(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -Vr); do
    [ -x "$(dirname "${initdb:-/none/none}")/pg_ctl" ] && { dirname "$initdb"; return; }
  done
  return 1
}

usable() { # may this URL's user create databases?
  local psql
  psql=$(command -v psql || echo "$(bin)/psql")
  [ "$(PGCONNECT_TIMEOUT=5 "$psql" -XAtc "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user" \
    "$1" 2>/dev/null)" = t ]
}

run() {
  export TRUNKLINE_TEST_POSTGRES=$1
  shift
  "$@"
}

default=postgres://$user@127.0.0.1:5432/postgres
for url in ${TRUNKLINE_TEST_POSTGRES:-} "$default"; do
  if usable "$url"; then run "$url" "$@"; exit; fi
done

if ! bin >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "with-postgres: installing PostgreSQL" >&2
  { apt-get install -y -qq --no-install-recommends postgresql ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; }; } >&2 || true
  # The package may have started a server that knows no such user: it is left alone.
fi
if ! bin >/dev/null; then
  echo "with-postgres: no PostgreSQL here; install it (initdb and pg_ctl) or set TRUNKLINE_TEST_POSTGRES" >&2
  "$@"; exit
fi

bin=$(bin)
dir=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-pg.XXXXXX")
# The server does not run as root: give it to someone else then.
as=()
if [ "$(id -u)" = 0 ]; then
  owner=$(id -un postgres 2>/dev/null || echo nobody)
  chown "$owner" "$dir"
  as=(setpriv --reuid "$owner" --regid "$(id -gn "$owner")" --clear-groups)
  command -v setpriv >/dev/null || as=(runuser -u "$owner" --)
fi
server() { (cd "$dir" && "${as[@]}" "$bin/$1" "${@:2}"); }
stop() {
  server pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap stop EXIT

# 5432 when nobody has it: whatever expects the usual port then finds it. Else any that is free.
port=$(python3 - <<'PY'
import socket
for port in (5432, 0):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(s.getsockname()[1])
        break
PY
)
server initdb -D "$dir/data" -U "$user" --auth=trust --encoding=UTF8 --no-sync >"$dir/initdb.log" 2>&1 ||
  { cat "$dir/initdb.log" >&2; exit 1; }
# Not durable: the tests kill gateways, not this server.
server pg_ctl -D "$dir/data" -w -l "$dir/data/log" start >"$dir/start.log" 2>&1 \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$dir -c fsync=off -c max_connections=200" ||
  { cat "$dir/start.log" "$dir/data/log" >&2; exit 1; }
echo "with-postgres: a server of our own at 127.0.0.1:$port" >&2
run "postgres://$user@127.0.0.1:$port/postgres" "$@"
