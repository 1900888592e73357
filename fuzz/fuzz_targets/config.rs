//! Configuration files: any text is either understood or refused, in words without control characters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let nothing = std::collections::BTreeMap::<String, String>::new();
    if let Err(error) = trunkline_config::parse(text, "config.yaml", &nothing) {
        let said = error.to_string();
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
});
