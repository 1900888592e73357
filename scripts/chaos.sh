#!/usr/bin/env bash
# Servers that do everything wrong beside one that works, for an hour and with the binary that people run; the test suite does
# it for a minute. usage: scripts/chaos.sh [SECONDS]
# TRUNKLINE_CHAOS_SEED=N runs the same again; what else can be set: crates/trunkline/tests/chaos/main.rs
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p trunkline
binary=${CARGO_TARGET_DIR:-target}/release/trunkline
export TRUNKLINE_CHAOS_SECONDS=${1:-3600} TRUNKLINE_CHAOS_BINARY
TRUNKLINE_CHAOS_BINARY=$(realpath "$binary")
# Not with nextest, which ends what takes long.
exec cargo test -p trunkline --test chaos -- --nocapture
