//! May this principal use this model? LiteLLM's lists and words, of the key and of whom it belongs to.
//!
//! In one place the narrower reading is taken (ADR 0034): a key without a list, of no team that has one, may use nothing.

use trunkline_model::key::{ALL_PROXY_MODELS, ALL_TEAM_MODELS, MODEL_WORDS, NO_DEFAULT_MODELS};
use trunkline_model::{Holder, Level, ObjectPermission, Principal, PrincipalKind, UserRole};

use crate::{Decision, Reason, Rule, deny};

/// Decides about a model, by the name that clients ask for. A level without a list takes nothing away.
pub fn decide_model(principal: &Principal, model: &str) -> Decision {
    let decided = match principal.kind() {
        PrincipalKind::MasterKey => Ok(()),
        PrincipalKind::Key(holder) => of_holder(holder, model),
    };
    let end_user = principal.known_end_user().map(|own| &own.object_permission);
    match decided.and_then(|()| narrows(Level::EndUser, end_user, model)) {
        Ok(()) => Decision::Allow,
        Err((level, rule)) => deny(Reason::ModelNotGranted, level, rule),
    }
}

type Refused = (Level, Rule);

fn of_holder(holder: &Holder, model: &str) -> Result<(), Refused> {
    let key = &holder.key.object_permission;
    let team = holder.team.as_ref().map(|team| &team.object_permission);
    let user = holder.user.as_ref().map(|user| &user.object_permission);
    let organization = holder.organization.as_ref().map(|own| &own.object_permission);
    if !is_unrestricted(holder) {
        granted(key, team, model)?;
    }
    narrows(Level::Team, team, model)?;
    // As in LiteLLM: a key of a team acts in the team, whosever it is.
    if holder.key.team_id.is_none() {
        if user.is_some_and(|own| says(own, NO_DEFAULT_MODELS)) {
            return Err((Level::User, Rule::NoDefaultModels));
        }
        narrows(Level::User, user, model)?;
    }
    narrows(Level::Organization, organization, model)
}

/// A key of an administrator, who has been given nothing in particular.
fn is_unrestricted(holder: &Holder) -> bool {
    holder.role() == Some(UserRole::ProxyAdmin) && holder.key.object_permission.models.is_empty()
}

/// Whether the key was given the model: by its own list, or by its team's, if its own is empty or says so.
fn granted(key: &ObjectPermission, team: Option<&ObjectPermission>, model: &str) -> Result<(), Refused> {
    let teams = team.filter(|own| !own.models.is_empty());
    if key.models.is_empty() && teams.is_none() {
        return Err((Level::Key, Rule::NothingListed));
    }
    let takes_the_teams = key.models.is_empty() || says(key, ALL_TEAM_MODELS);
    let by_team = takes_the_teams && teams.is_some_and(|own| covers(own, model));
    if by_team || covers(key, model) {
        Ok(())
    } else {
        Err((Level::Key, Rule::Models))
    }
}

fn narrows(level: Level, own: Option<&ObjectPermission>, model: &str) -> Result<(), Refused> {
    match own {
        Some(own) if !own.models.is_empty() && !covers(own, model) => Err((level, Rule::Models)),
        _ => Ok(()),
    }
}

fn says(own: &ObjectPermission, word: &str) -> bool {
    own.models.iter().any(|entry| entry == word)
}

/// Whether a list has a model: by its name, by the beginning of it and `*`, or by the word for all. Of an entry of another list
/// it says whether that is no more than this.
pub fn covers(own: &ObjectPermission, model: &str) -> bool {
    own.models.iter().any(|entry| match entry.as_str() {
        ALL_PROXY_MODELS => true,
        word if MODEL_WORDS.contains(&word) => false,
        entry => match entry.strip_suffix('*') {
            Some(begin) => model.starts_with(begin),
            None => entry == model,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_model::{EndUser, KeyHash, OnBehalfOf, Organization, Team, User, VirtualKey};

    use super::*;

    fn list(models: &[&str]) -> ObjectPermission {
        ObjectPermission {
            models: models.iter().map(|name| (*name).to_owned()).collect(),
            ..ObjectPermission::default()
        }
    }

    #[derive(Default)]
    struct Lists<'a> {
        key: &'a [&'a str],
        team: Option<&'a [&'a str]>,
        user: Option<&'a [&'a str]>,
        role: Option<UserRole>,
        organization: Option<&'a [&'a str]>,
        end_user: Option<&'a [&'a str]>,
    }

    fn ask(lists: &Lists<'_>, model: &str) -> Result<(), Refused> {
        let mut key = VirtualKey::new(KeyHash([1; 32]));
        key.object_permission = list(lists.key);
        key.team_id = lists.team.map(|_| "t".to_owned());
        let holder = Holder {
            key: Arc::new(key),
            team: lists.team.map(|own| {
                Arc::new(Team {
                    object_permission: list(own),
                    ..Team::default()
                })
            }),
            organization: lists.organization.map(|own| {
                Arc::new(Organization {
                    object_permission: list(own),
                    ..Organization::default()
                })
            }),
            user: lists.user.map(|own| {
                Arc::new(User {
                    user_role: lists.role,
                    object_permission: list(own),
                    ..User::default()
                })
            }),
            ..Holder::of_key(Arc::new(VirtualKey::new(KeyHash([1; 32]))))
        };
        let end_user = lists.end_user.map(|own| OnBehalfOf {
            id: "e".into(),
            end_user: Some(Arc::new(EndUser {
                object_permission: list(own),
                ..EndUser::default()
            })),
            budget: None,
        });
        match decide_model(&Principal::from_key(holder).on_behalf_of(end_user), model) {
            Decision::Allow => Ok(()),
            Decision::Deny(denial) => Err((denial.level, denial.rule)),
        }
    }

    #[test]
    fn a_key_has_what_it_was_given() {
        let nothing = Lists::default();
        assert_eq!(ask(&nothing, "a"), Err((Level::Key, Rule::NothingListed)));
        for (key, model, allowed) in [
            (&["a"][..], "a", true),
            (&["a"], "b", false),
            (&["a"], "A", false),
            (&["all-proxy-models"], "b", true),
            (&["*"], "b", true),
            (&["openai/*"], "openai/x", true),
            (&["openai/*"], "openai", false),
            (&["no-default-models"], "a", false),
            (&["no-default-models"], "no-default-models", false),
            (&["all-team-models"], "a", false),
        ] {
            let lists = Lists {
                key,
                ..Lists::default()
            };
            assert_eq!(ask(&lists, model).is_ok(), allowed, "{key:?} {model}");
        }
    }

    #[test]
    fn a_team_gives_to_keys_that_take_and_narrows_the_others() {
        let of = |key, team| Lists {
            key,
            team: Some(team),
            ..Lists::default()
        };
        assert_eq!(ask(&of(&[], &["a"]), "a"), Ok(()));
        assert_eq!(ask(&of(&[], &["a"]), "b"), Err((Level::Key, Rule::Models)));
        assert_eq!(ask(&of(&["all-team-models"], &["a"]), "a"), Ok(()));
        assert_eq!(
            ask(&of(&["all-team-models", "b"], &["a"]), "b"),
            Err((Level::Team, Rule::Models))
        );
        assert_eq!(ask(&of(&["b"], &["a"]), "b"), Err((Level::Team, Rule::Models)));
        assert_eq!(ask(&of(&["b"], &[]), "b"), Ok(()));
        assert_eq!(ask(&of(&[], &[]), "b"), Err((Level::Key, Rule::NothingListed)));
        assert_eq!(
            ask(&of(&["all-team-models"], &[]), "b"),
            Err((Level::Key, Rule::Models))
        );
        assert_eq!(ask(&of(&[], &["all-proxy-models"]), "b"), Ok(()));
    }

    #[test]
    fn everybody_else_takes_away() {
        let all = &["all-proxy-models"][..];
        let user = |user| Lists {
            key: all,
            user: Some(user),
            ..Lists::default()
        };
        assert_eq!(ask(&user(&["a"]), "b"), Err((Level::User, Rule::Models)));
        assert_eq!(ask(&user(&[]), "b"), Ok(()));
        assert_eq!(
            ask(&user(&["no-default-models"]), "b"),
            Err((Level::User, Rule::NoDefaultModels))
        );
        let in_team = Lists {
            team: Some(&["b"]),
            ..user(&["no-default-models"])
        };
        assert_eq!(ask(&in_team, "b"), Ok(()), "its own models are meant");
        let organization = Lists {
            key: all,
            organization: Some(&["a"]),
            ..Lists::default()
        };
        assert_eq!(ask(&organization, "b"), Err((Level::Organization, Rule::Models)));
        let end_user = Lists {
            key: all,
            end_user: Some(&["a"]),
            ..Lists::default()
        };
        assert_eq!(ask(&end_user, "b"), Err((Level::EndUser, Rule::Models)));
        assert_eq!(ask(&end_user, "a"), Ok(()));
    }

    #[test]
    fn administrators_have_all_unless_a_list_says_less() {
        assert!(decide_model(&Principal::from_master_key(), "a").is_allow());
        let admin = |key, user| Lists {
            key,
            user: Some(user),
            role: Some(UserRole::ProxyAdmin),
            ..Lists::default()
        };
        assert_eq!(ask(&admin(&[], &[]), "a"), Ok(()));
        assert_eq!(ask(&admin(&["b"], &[]), "a"), Err((Level::Key, Rule::Models)));
        assert_eq!(ask(&admin(&[], &["b"]), "a"), Err((Level::User, Rule::Models)));
    }
}
