#!/usr/bin/env bash
# Makes scripts/node/node_modules: the TypeScript SDK client and servers from npm, at the versions of the lock file.
# Exit 0 when there, 3 when this machine has no npm or a Node that is too old (callers say what they leave out).
set -euo pipefail
cd "$(dirname "$0")/node"
command -v npm >/dev/null && command -v node >/dev/null || { echo "node-env: no node and npm here" >&2; exit 3; }
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] || { echo "node-env: Node 18 or newer is needed" >&2; exit 3; }
if command -v flock >/dev/null; then exec 9>.lock; flock 9; fi
want="$(node --version) $(cat package.json package-lock.json | cksum)"
[ "$(cat node_modules/.stamp 2>/dev/null)" = "$want" ] && exit 0
echo "node-env: making scripts/node/node_modules" >&2
npm ci --silent --no-audit --no-fund --ignore-scripts >&2
echo "$want" >node_modules/.stamp
