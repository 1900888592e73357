#!/usr/bin/env bash
# Fuzzes everything that reads strangers' bytes:   scripts/fuzz.sh [SECONDS [TARGET...]]
# SECONDS is for each target, 10 unless said; without targets all of fuzz/src/lib.rs, one after the other.
#
# The targets are built with coverage instrumentation by whatever compiler is active: the flags are those of cargo-fuzz,
# without a sanitizer, which the code does not need (it forbids `unsafe`). FUZZ_SANITIZER=address builds with one; that
# takes a nightly compiler. The corpus grows in target/fuzz-corpus; a finding is in target/fuzz-artifacts, and the exit
# status says that there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-10}
[ $# -eq 0 ] || shift
triple=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-$PWD/target}
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
toolchain=
if [ -n "${FUZZ_SANITIZER:-}" ]; then
  cargo +nightly --version >/dev/null 2>&1 || {
    echo "fuzz: FUZZ_SANITIZER takes a nightly compiler, and there is none here" >&2
    exit 1
  }
  toolchain=+nightly
  flags+=" -Zsanitizer=$FUZZ_SANITIZER"
fi
# With a target named, the flags are not for build scripts.
RUSTFLAGS=$flags cargo $toolchain build --quiet --release --manifest-path fuzz/Cargo.toml --bins \
  --target "$triple" --target-dir "$folder/fuzz"

[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)
for target in "$@"; do
  corpus=$folder/fuzz-corpus/$target
  artifacts=$folder/fuzz-artifacts/$target
  mkdir -p "$corpus" "$artifacts"
  echo "fuzz: $target for $seconds s" >&2
  "$folder/fuzz/$triple/release/$target" "$corpus" -artifact_prefix="$artifacts/" -max_total_time="$seconds" \
    -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 2>"$artifacts/log" || {
    tail -n 40 "$artifacts/log" >&2
    exit 1
  }
  grep -E 'stat::(number_of_executed_units|peak_rss_mb)' "$artifacts/log" >&2 || true
done
