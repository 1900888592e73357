//! Requests that are served by another endpoint than they were made to, or in another form: vectors, texts, counts.

use trunkline_mcp::edit::RawObject;

use super::{BadRequest, Request, Sent};
use crate::count::{self, Counted};
use crate::routing::Routing;
use crate::translate::{Drops, Target};
use crate::{Dialect, Endpoint, Spoken, texts, vectors};

/// What an answer is an answer to, where it is no conversation that is handed on as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// A conversation, or what passes as it is.
    #[default]
    Plain,
    /// A text that a chat went on with.
    Text,
    /// Vectors of another form.
    Vectors(vectors::Reading),
    /// How many tokens there are.
    Count(Counted),
}

impl<'a> Request<'a> {
    /// What is sent of a request that was made to one endpoint and is served by another one, or in another form. `asked`, `served`: both.
    pub fn send_as(
        &self,
        (asked, served): (Endpoint, Endpoint),
        target: &Target<'_>,
        renames: &[(&str, &str)],
        drops: &Drops,
    ) -> Result<Sent, BadRequest> {
        let is_anthropics = target.dialect == Spoken::By(Dialect::Anthropic);
        match asked {
            Endpoint::Embeddings if matches!(target.dialect, Spoken::Gemini | Spoken::Bedrock) => {
                let (object, mut dropped, drops) = self.reduced(drops);
                let own = vectors::request(&object, target, &drops)?;
                dropped.extend(own.dropped);
                Ok(Sent {
                    body: own.body.into_bytes(),
                    more: own.more.into_iter().map(String::into_bytes).collect(),
                    dropped,
                    task: Task::Vectors(own.reading),
                    ..Sent::nothing()
                })
            }
            Endpoint::CountTokens if !is_anthropics => {
                let (object, mut dropped, _) = self.reduced(drops);
                let (body, lost, counted) = count::request(&object, target)?;
                dropped.extend(lost);
                Ok(Sent {
                    body: body.into_bytes(),
                    dropped,
                    task: Task::Count(counted),
                    ..Sent::nothing()
                })
            }
            Endpoint::Completions if served != Endpoint::Completions => {
                let (object, mut dropped, own) = self.reduced(drops);
                let (chat, lost) = texts::request(&object, &own, (target.provider, target.model))?;
                dropped.extend(lost);
                let chat = Request {
                    object: chat,
                    model: self.model.clone(),
                    user: None,
                    previous: None,
                    form: None,
                    routing: Routing::default(),
                    drops: own,
                    ..*self
                };
                let mut sent = chat.send(target, renames, drops)?;
                sent.dropped.splice(0..0, dropped);
                sent.task = Task::Text;
                Ok(sent)
            }
            _ => self.send(target, renames, drops),
        }
    }

    /// The body without the members that are always left out, their names, and what else may be left out.
    fn reduced(&self, drops: &Drops) -> (RawObject<'a>, Vec<String>, Drops) {
        let mut object = self.object.clone();
        let names = self.drops.names.iter().chain(&drops.names);
        let dropped = names.filter(|name| object.remove(name)).cloned().collect();
        let drops = Drops {
            all: self.drops.all || drops.all,
            names: Vec::new(),
        };
        (object, dropped, drops)
    }

    /// About how many tokens it would take, for where nobody counts them.
    pub fn about_tokens(&self) -> Result<u64, BadRequest> {
        count::about(&self.object)
    }
}
