//! Maps by keys that are made here.

use std::collections::HashMap;

/// A map whose keys nobody outside chooses: ids, digests, session keys, addresses of registrations. Its hash costs a
/// fraction of the standard one, and is keyed anew in every process; what strangers name (tools, URIs, JSON keys) belongs in a
/// [`HashMap`] as it is, whose hash withstands names that are made to collide.
pub type KeyMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
