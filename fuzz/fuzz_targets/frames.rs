//! Frames of AWS's event streams.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trunkline_fuzz::frames(input));
