//! What was spent: `/spend/…` and `/…/daily/activity`, and the columns about it in other answers.
//!
//! - [`shown`] is what rows of keys, teams, users … show of it.
//! - [`logs`] is one row for each call, [`activity`] sums of days, [`tags`] sums of tags.
//! - [`by_user`] is what each user spent in a team.
//! - [`scope`] is who sees what: who may see everything, everything; a user its own; who manages a team, all of the team; a key of a team
//!   what was done with it.
//!
//! Amounts are integers until they are written into JSON.

pub(crate) mod activity;
pub(crate) mod by_user;
pub(crate) mod logs;
pub(crate) mod scope;
pub(crate) mod shown;
pub(crate) mod tags;
