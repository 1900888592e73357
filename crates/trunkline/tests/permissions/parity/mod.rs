//! One question, every way in: whatever takes something away is the same for every method, on every transport and at every entry
//! point. What is taken away is like what nobody has, to the byte and the header, and nothing of it goes upstream.
//!
//! [`rows`] is the table: which rule of which level takes what away. A reason, rule or level of the policy without a row does not
//! build. [`ways`] are the transports and entry points, [`methods`] what is asked, [`world`] the gateway, and [`check`] asks.

mod check;
mod methods;
mod model;
mod rows;
pub(crate) mod ways;
mod world;
