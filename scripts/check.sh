#!/usr/bin/env bash
# What must hold before a change is good, tests aside: format, lints, the repository's own rules, licences, spelling.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/tools.sh

step() {
  local began=$SECONDS
  echo "check: $*" >&2
  "$@"
  echo "check: done in $((SECONDS - began)) s" >&2
}
# A tool that is not to be had here is left out aloud; CI has to have it.
step_with() {
  if has "$1"; then step "$@"; return; fi
  echo "check: LEFT OUT, $1 is not to be had here: $*" >&2
  [ "${CI:-}" != true ]
}

step cargo fmt --all --check
step cargo clippy -q --workspace --all-targets -- -D warnings
step cargo xtask tidy
# Advisories need a database from elsewhere: `cargo deny check advisories` by hand, or in a nightly job.
step_with cargo-deny deny --log-level error check licenses bans sources
step_with typos
