# To be sourced: puts the pinned tools of scripts/python/tools.txt first in PATH.
#
#   need NAME   makes sure of NAME: from there, else from PATH, else built by cargo (minutes)
#   has NAME    the same without building; fails when it is not to be had

export PATH="$PWD/.tools/py-tools/bin:$PATH"

has() {
  [ -x ".tools/py-tools/bin/$1" ] && [ -f .tools/py-tools/.stamp ] && scripts/python-env.sh tools && return
  scripts/python-env.sh tools || true
  command -v "$1" >/dev/null
}

need() {
  has "$1" && return
  local name
  name=$(grep -o "$1==.*" scripts/python/tools.txt)
  echo "tools: building $1 ${name#*==}" >&2
  cargo install --locked "$1" --version "${name#*==}"
}
