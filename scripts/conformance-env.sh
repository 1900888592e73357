#!/usr/bin/env bash
# Makes what the conformance run and the tests with official clients need: the suite, the Inspector and a Node for both
# (scripts/conformance/node_modules), the official everything-servers (.tools/everythingN, from the source distributions of
# the Python SDK) and their environments.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/python-env.sh everything2 everything1 sdk2
# Several tests may want it at the same time.
if command -v flock >/dev/null; then exec 9>scripts/conformance/.lock; flock 9; fi
# A Python with pip: environments made by uv have none.
pip_python=
for candidate in .tools/uv/bin/python "${PYTHON:-python3}" /usr/bin/python3; do
  if "$candidate" -m pip --version >/dev/null 2>&1; then pip_python=$candidate; break; fi
done
[ -n "$pip_python" ] || { echo "conformance-env: no Python with pip here" >&2; exit 3; }
for name in everything2 everything1; do
  version=$(sed -n 's/^mcp==\([^ ;]*\).*/\1/p' "scripts/python/$name.txt")
  folder=.tools/$name
  [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$version" ] && continue
  echo "conformance-env: unpacking the everything-server of mcp $version" >&2
  rm -rf "$folder" && mkdir -p "$folder"
  "$pip_python" -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: -d "$folder" "mcp==$version"
  tar -xzf "$folder/mcp-$version.tar.gz" -C "$folder" --strip-components 4 "mcp-$version/examples/servers/everything-server"
  echo "$version" >"$folder/.stamp"
done
cd scripts/conformance
command -v npm >/dev/null || { echo "conformance-env: no npm here" >&2; exit 3; }
want=$(cat package.json package-lock.json | cksum)
[ "$(cat node_modules/.stamp 2>/dev/null)" = "$want" ] && exit 0
echo "conformance-env: making scripts/conformance/node_modules" >&2
npm ci --silent --no-audit --no-fund --ignore-scripts >&2
echo "$want" >node_modules/.stamp
