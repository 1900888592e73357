//! Questions of servers of the new era to clients of the old one (mcp reference §2.2): the server ends its request with
//! what it needs to know, the client is asked on the stream of its own, still open request, and the server is asked again
//! with the answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use trunkline_mcp::edit::{self, RawObject};
use trunkline_model::{ReplicaId, SessionKey};

use crate::Gateway;
use crate::context::Context;

/// Before a server is asked again that wants nothing but to be.
const PAUSE: Duration = Duration::from_millis(200);
/// Questions of one round.
const MAX_QUESTIONS: usize = 32;
/// What ids of such questions begin with: they are sealed, and name the replica that waits for the answer.
const PREFIX: &str = "q1.";

/// The name of a question, and the client's result or error: raw JSON.
type Answer = (String, Result<String, String>);
/// Whose question it is, its name, and where the answer goes.
type Open = (SessionKey, String, mpsc::Sender<Answer>);

/// Questions that clients were asked by this process, by their ids.
#[derive(Default)]
pub struct Questions {
    open: Mutex<HashMap<String, Open>>,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client's answer; whether it is one to a question of its own session.
    pub fn answer(&self, session: SessionKey, id: &RawValue, outcome: Result<&RawValue, &RawValue>) -> bool {
        let Ok(id) = serde_json::from_str::<String>(id.get()) else {
            return false;
        };
        let mut open = self.lock();
        if open.get(&id).is_none_or(|(own, ..)| *own != session) {
            return false;
        }
        let Some((_, key, sender)) = open.remove(&id) else {
            return false;
        };
        let outcome = outcome
            .map(|result| result.get().to_owned())
            .map_err(|error| error.get().to_owned());
        // A call that is over does not wait any more.
        let _ = sender.try_send((key, outcome));
        true
    }
}

/// The replica that asked the question with this id, if it is one to the client of this request.
pub fn owner(gateway: &Gateway, context: &Context, id: &RawValue) -> Option<ReplicaId> {
    let id: String = serde_json::from_str(id.get()).ok()?;
    let session = context.session?.to_hex();
    let sealed = ["question", context.principal.id(), &session];
    let held = gateway.peers.open(&sealed, id.strip_prefix(PREFIX)?)?;
    Some(held.owner)
}

/// One round: what is asked, and what was answered.
pub struct Round {
    questions: Arc<Questions>,
    /// Raw JSON of ids, methods and messages that are to go to the client.
    to_send: VecDeque<(String, String, String)>,
    ids: Vec<String>,
    methods: HashMap<String, String>,
    expected: usize,
    answered: Vec<(String, String)>,
    answers: mpsc::Receiver<Answer>,
    /// `requestState`: raw JSON.
    state: Option<String>,
    until: Instant,
}

/// Why a round cannot be: a sentence for the one who reads the call's result.
pub type Impossible = String;

impl Round {
    /// From an `input_required` result. `patience` is how long the client may take for it.
    pub fn begin(
        gateway: &Gateway,
        context: &Context,
        result: &str,
        patience: Duration,
    ) -> Result<Self, Impossible> {
        let unreadable = || "the server asks for input in a way that cannot be read".to_owned();
        let result = RawObject::parse(result).map_err(|_| unreadable())?;
        let requests = result.get("inputRequests").unwrap_or("{}").to_owned();
        let requests = RawObject::parse(&requests).map_err(|_| unreadable())?;
        let keys: Vec<String> = requests.keys().map(ToOwned::to_owned).collect();
        if keys.is_empty() && !requests.is_empty() {
            return Err(unreadable());
        }
        if keys.len() > MAX_QUESTIONS {
            return Err(format!(
                "the server asks more than {MAX_QUESTIONS} questions at once"
            ));
        }
        let (sender, answers) = mpsc::channel(MAX_QUESTIONS);
        let mut round = Self {
            questions: gateway.questions.clone(),
            to_send: VecDeque::new(),
            ids: Vec::new(),
            methods: HashMap::new(),
            expected: keys.len(),
            answered: Vec::new(),
            answers,
            state: result.get("requestState").map(ToOwned::to_owned),
            until: Instant::now() + patience,
        };
        for key in keys {
            let request = RawObject::parse(requests.get(&key).unwrap_or("{}")).map_err(|_| unreadable())?;
            let method = request.get_string("method").ok_or_else(unreadable)?;
            let asked = request.get("params").unwrap_or("{}");
            // All of them before any is sent: half a round is of no use.
            let session = context
                .session
                .filter(|_| context.asks().answers_so(&method, asked))
                .ok_or_else(|| format!("the server asks for {method}, which this client does not answer"))?;
            let sealed = ["question", context.principal.id(), &session.to_hex()];
            let token = gateway.peers.seal(&sealed, *uuid::Uuid::new_v4().as_bytes());
            let id = format!("{PREFIX}{token}");
            let params = request
                .get("params")
                .map(|params| with_elicitation_id(&method, params));
            let message = trunkline_mcp::rpc::request(&edit::string(&id), &method, params.as_deref());
            round
                .questions
                .lock()
                .insert(id.clone(), (session, key.clone(), sender.clone()));
            round
                .to_send
                .push_back((edit::string(&id), method.clone(), message));
            round.ids.push(id);
            round.methods.insert(key, method);
        }
        Ok(round)
    }

    /// The next question for the client.
    pub fn next_question(&mut self) -> Option<(String, String, String)> {
        self.to_send.pop_front()
    }

    /// Waits for all answers; then the members that the server is asked again with. Cancel-safe.
    pub async fn answers(&mut self) -> Result<Vec<(&'static str, String)>, Impossible> {
        while self.answered.len() < self.expected {
            let answer = timeout_at(self.until, self.answers.recv()).await;
            let Ok(Some((key, outcome))) = answer else {
                return Err("the client did not answer the server's question in time".to_owned());
            };
            let answer = match outcome {
                Ok(answer) => answer,
                // Not to answer is an answer there.
                Err(_)
                    if self
                        .methods
                        .get(&key)
                        .is_some_and(|method| method == "elicitation/create") =>
                {
                    r#"{"action":"cancel"}"#.to_owned()
                }
                Err(error) => {
                    let error = trunkline_upstream::fault::printable(&error);
                    return Err(format!(
                        "the client answered the server's question with an error: {error}"
                    ));
                }
            };
            self.answered.push((key, answer));
        }
        if self.expected == 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut responses = RawObject::default();
        for (key, answer) in &self.answered {
            responses.set(key, answer.clone());
        }
        let mut members = vec![("inputResponses", responses.to_json())];
        members.extend(self.state.clone().map(|state| ("requestState", state)));
        Ok(members)
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let mut open = self.questions.lock();
        for id in &self.ids {
            open.remove(id);
        }
    }
}

/// In the old era a question that leads to a page has an id.
fn with_elicitation_id(method: &str, params: &str) -> String {
    let own = || {
        let mut object = RawObject::parse(params).ok()?;
        let is_url = method == "elicitation/create" && object.get_string("mode")? == "url";
        (is_url && object.get("elicitationId").is_none()).then(|| {
            object.set_string("elicitationId", &uuid::Uuid::new_v4().to_string());
            object.to_json()
        })
    };
    own().unwrap_or_else(|| params.to_owned())
}
