#!/usr/bin/env bash
# Every test, with all set-up: the programs they run against, a PostgreSQL server, nextest, then the doc tests.
# Arguments go to nextest:   scripts/test.sh -p trunkline b14_
# With CI=true nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh
need cargo-nextest

scripts/python-env.sh backend sdk1 sdk2
scripts/node-env.sh || {
  echo "test: the tests with the TypeScript client and server-everything are left out" >&2
  [ "${CI:-}" != true ] || exit 1
}
profile=default
[ "${CI:-}" != true ] || profile=ci
# All crates, unless some are named: cargo takes --workspace for the last word.
scope=--workspace
case " $* " in *" -p "* | *" --package "* | *" --package="*) scope= ;; esac
scripts/with-postgres.sh cargo nextest run ${scope:+"$scope"} --profile "$profile" "$@"
[ $# -gt 0 ] || cargo test -q --workspace --doc
# The official conformance suite, and the official client before servers of both eras, through the binary just built.
if [ $# -eq 0 ]; then
  if scripts/conformance-env.sh; then
    cargo build -q -p trunkline
    scripts/conformance.py
  else
    echo "test: the conformance suite is left out" >&2
    [ "${CI:-}" != true ]
  fi
fi
