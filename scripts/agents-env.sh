#!/usr/bin/env bash
# Makes scripts/agents/node_modules: agents from npm at the versions of the lock file, which the tests let work through the gateway. They are
# programs of hundreds of megabytes, so they are apart from scripts/node, and only the run of all tests makes them.
# Exit 0 when there, 3 when this machine has no npm (callers say what they leave out).
set -euo pipefail
cd "$(dirname "$0")/agents"
command -v npm >/dev/null || { echo "agents-env: no npm here" >&2; exit 3; }
# Several tests may want it at the same time.
if command -v flock >/dev/null; then exec 9>.lock; flock 9; fi
want=$(cat package.json package-lock.json | cksum)
[ "$(cat node_modules/.stamp 2>/dev/null)" = "$want" ] && exit 0
echo "agents-env: making scripts/agents/node_modules" >&2
# The programs of the platform are packages of their own; the scripts of the others would only copy them.
npm ci --silent --no-audit --no-fund --ignore-scripts >&2
echo "$want" >node_modules/.stamp
