//! Grants of toolsets name them; what is decided with has them. Whoever is put into the directory is bound to the toolsets that
//! there are.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use trunkline_auth::Directory;
use trunkline_model::{EndUser, ObjectPermission, Organization, Team, Toolsets, User, VirtualKey};

/// Who has grants.
trait Granted: Clone {
    fn permission(&self) -> &ObjectPermission;
    fn permission_mut(&mut self) -> &mut ObjectPermission;
}

macro_rules! granted {
    ($($kind:ty),*) => {
        $(impl Granted for $kind {
            fn permission(&self) -> &ObjectPermission {
                &self.object_permission
            }

            fn permission_mut(&mut self) -> &mut ObjectPermission {
                &mut self.object_permission
            }
        })*
    };
}

granted!(VirtualKey, Team, User, Organization, EndUser);

/// Binds everybody who is not; whether there was anybody. What is bound already stays the same object.
pub(crate) fn all(directory: &mut Directory, toolsets: &Toolsets) -> bool {
    // Not `||`: each of them.
    [
        each(&mut directory.keys, toolsets),
        each(&mut directory.teams, toolsets),
        each(&mut directory.users, toolsets),
        each(&mut directory.organizations, toolsets),
        each(&mut directory.end_users, toolsets),
    ]
    .contains(&true)
}

fn each<K, T, S>(map: &mut Arc<HashMap<K, Arc<T>, S>>, toolsets: &Toolsets) -> bool
where
    K: Clone + Eq + Hash,
    T: Granted,
    S: BuildHasher + Clone,
{
    let bound = |own: &Arc<T>| {
        let mut own = T::clone(own);
        own.permission_mut().bind(toolsets);
        Arc::new(own)
    };
    let others: Vec<(K, Arc<T>)> = map
        .iter()
        .filter(|(_, own)| !own.permission().is_bound_to(toolsets))
        .map(|(key, own)| (key.clone(), bound(own)))
        .collect();
    let is_any = !others.is_empty();
    if is_any {
        Arc::make_mut(map).extend(others);
    }
    is_any
}
