//! The targets of `fuzz/src/lib.rs` with inputs made from a seed: what a fuzzer finds in minutes is looked for elsewhere
//! (`scripts/fuzz.sh`), what it would find in a second is looked for here, on every machine.

#[expect(unreachable_pub, reason = "a crate of its own where it is fuzzed")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use targets::{TARGETS, Target};

/// For each target; the whole file takes seconds.
const INPUTS: u64 = 3000;

/// `xorshift64*`: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap_or_default() % end.max(1)
    }
}

/// Pieces that make inputs interesting.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0061",
    "\\ud800",
    "1e400",
    "-0.0",
    "null",
    " ",
    "\n",
    "\r\n",
    "data: ",
    "id: ",
    "\u{feff}",
    "=?base64?",
    "?=",
    "\u{0}",
    "{+a}",
    "x-mcp-header",
];

/// One of the target's own inputs after a few changes.
fn changed(numbers: &mut Numbers, seeds: &[&str]) -> Vec<u8> {
    let seed = |numbers: &mut Numbers| seeds[numbers.below(seeds.len())].as_bytes().to_vec();
    let mut input = seed(numbers);
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len() + 1);
        let end = (at + numbers.below(9)).min(input.len());
        match numbers.below(6) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..end, PIECES[numbers.below(PIECES.len())].bytes())),
            2 => drop(input.splice(at..at, PIECES[numbers.below(PIECES.len())].bytes())),
            3 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
            4 => {
                let piece = input[at..end].to_vec();
                drop(input.splice(at..at, piece.repeat(1 + numbers.below(3))));
            }
            _ => {
                let other = seed(numbers);
                let from = numbers.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input
}

fn run(name: &str, target: Target, seeds: &[&str]) {
    for seed in seeds {
        target(seed.as_bytes());
    }
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..INPUTS {
        let input = changed(&mut numbers, seeds);
        let held = std::panic::catch_unwind(|| target(&input)).is_ok();
        assert!(held, "{name}: {:?}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn s38_no_input_of_a_stranger_breaks_a_parser() {
    for (name, target, seeds) in TARGETS {
        run(name, target, seeds);
    }
}

/// Every target has its binary.
#[test]
fn every_target_is_fuzzed() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for (name, ..) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}
