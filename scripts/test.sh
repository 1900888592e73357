#!/usr/bin/env bash
# Every test, with all set-up: the programs they run against, a PostgreSQL server, nextest, then the doc tests.
# Arguments go to nextest:   scripts/test.sh -p trunkline b14_
# With CI=true nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh
need cargo-nextest

# Where a version manager's script stands for `python3`, the interpreter itself: the script takes four times as long to start,
# and is several processes where tests count them.
PATH="$(dirname "$(python3 -c 'import sys; print(sys.executable)')"):$PATH"
export PATH

scripts/python-env.sh backend sdk1 sdk2 time servers fastmcp2 litellm litellm-sdk openai anthropic langchain
scripts/node-env.sh || {
  echo "test: the tests with the TypeScript client and servers from npm are left out" >&2
  [ "${CI:-}" != true ] || exit 1
}
# All tests: those with the official clients and servers among them, and the conformance suite below.
if [ $# -eq 0 ]; then
  scripts/conformance-env.sh || {
    echo "test: the conformance suite, and the tests with official clients and servers, are left out" >&2
    [ "${CI:-}" != true ] || exit 1
  }
  scripts/agents-env.sh || {
    echo "test: the tests with agents are left out" >&2
    [ "${CI:-}" != true ] || exit 1
  }
fi
profile=default
[ "${CI:-}" != true ] || profile=ci
# All crates, unless some are named: cargo takes --workspace for the last word.
scope=--workspace
case " $* " in *" -p "* | *" --package "* | *" --package="*) scope= ;; esac
scripts/with-postgres.sh cargo nextest run ${scope:+"$scope"} --profile "$profile" "$@"
[ $# -gt 0 ] || cargo test -q --workspace --doc
# The official conformance suite, from both sides, and the official client before servers of both eras, through the binary
# just built.
if [ $# -eq 0 ] && [ -f scripts/conformance/node_modules/.stamp ]; then
  cargo build -q -p trunkline
  scripts/conformance.py
fi
