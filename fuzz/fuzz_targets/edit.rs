//! Objects taken apart and put together: what is not set stays byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trunkline_mcp::edit::RawObject;

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, key, value) = input;
    let Ok(mut object) = RawObject::parse(text) else {
        return;
    };
    let again = object.to_json();
    let same = RawObject::parse(&again).expect("what was put together can be taken apart");
    assert!(object.keys().eq(same.keys()));
    for own in object.keys() {
        assert_eq!(object.get(own), same.get(own));
    }
    object.set_string(key, value);
    let changed = object.to_json();
    // Numbers beyond the parser's reach are legal where nobody looks.
    if let Ok(parsed) = serde_json::from_str::<Value>(&changed) {
        assert_eq!(parsed[key], value);
    }
    assert_eq!(object.get_string(key).as_deref(), Some(value));
    assert!(object.remove(key));
    assert!(object.get(key).is_none());
});
