//! The rounds: the model is asked, its calls are made, and it is asked again, until it calls nothing more.
//!
//! Bounded are the rounds, the calls of one and of all of them, the time, and the tokens: what `max_tokens` says is for all rounds
//! together. Where a bound is reached the model is asked once more, and may call nothing.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use scopeguard::ScopeGuard;
use tokio::time::timeout;
use trunkline_auth::Admission;
use trunkline_llm::price::Cost;
use trunkline_llm::translate::answer::{Answer, Assembly, Event, Part, Stop};
use trunkline_llm::translate::conversation::{Kind, Served};
use trunkline_llm::translate::dialogue::Wanted;
use trunkline_llm::translate::{self, Dialogue, Incoming, Unreadable};
use trunkline_llm::{Dialect, McpTool, Usage};
use trunkline_model::{OutcomeStatus, Step};
use trunkline_upstream::fault::{Fault, printable};

use super::super::ask::{self, Head};
use super::super::bill::{self, Bill};
use super::super::fallback;
use super::super::models::Ready;
use super::super::told::{self, Refused};
use super::super::tries::{Answered, Tries};
use super::super::{Asked, spent};
use super::call::{self, Came};
use super::offer::{self, Offer, Who};
use super::sink::{Pieces, Sink, Untold};
use crate::answer;
use crate::record::Pending;

/// Rounds in which tools are called.
const MAX_ROUNDS: u32 = 10;
/// Calls of all rounds.
const MAX_CALLS: usize = 128;
/// Calls at the same time.
const AT_ONCE: usize = 8;
/// Bytes of what all of them answer: what no model reads is not kept for it.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Begun later than this, a round is the last.
const MAX_TIME: Duration = Duration::from_mins(10);
/// While tools work, whoever waits for pieces hears something so often.
const PING: Duration = Duration::from_secs(10);

/// What ends it before its time.
enum Over {
    /// The client does not wait any more.
    Left,
    /// It cannot go on.
    Refused(Refused),
}

impl From<Untold> for Over {
    fn from(why: Untold) -> Self {
        match why {
            Untold::Gone => Self::Left,
            Untold::NoWord(why) => {
                Self::Refused(told::within(format!("the answer cannot be handed on: {why}")))
            }
        }
    }
}

impl From<Refused> for Over {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// A conversation that is led.
struct Lead<'a> {
    asked: Box<Asked<'a>>,
    dialogue: Dialogue,
    tools: &'a [McpTool],
    admission: &'a Admission,
    offer: Offer,
    sink: Sink,
    tries: Tries,
    /// None while a round is under way.
    pending: Option<Pending>,
    cost: Option<Cost>,
    /// Of the last round.
    headers: HeaderMap,
    rounds: u32,
    calls: usize,
    /// Of what they answered.
    bytes: AtomicUsize,
    /// Nothing may be called any more.
    is_last: bool,
}

/// A round, read.
struct Round {
    answer: Answer,
    usage: Option<Usage>,
    /// The provider told of an error in its middle, and the client has it.
    error: Option<String>,
}

/// Leads it. What is told in pieces goes to `out`, also the head of the answer.
pub(super) async fn run(
    mut asked: Box<Asked<'_>>,
    dialogue: Dialogue,
    (tools, admission): (&[McpTool], &Admission),
    mut pending: Pending,
    out: Option<Pieces>,
) -> Response {
    pending.reserve(asked.reserved.take());
    let created = asked.gateway.clock.now().as_second();
    let mut sink = Sink::new(
        (dialogue.way(), dialogue.has_format()),
        (asked.name, created),
        out,
    );
    if asked.endpoint.dialect() == Dialect::Anthropic {
        // No block of a message's is what the gateway did: clients would send it back to who does not know it.
        sink.hide_served();
    }
    let mut lead = Lead {
        asked,
        dialogue,
        tools,
        admission,
        offer: Offer::default(),
        sink,
        tries: Tries::default(),
        pending: Some(pending),
        cost: Some(Cost::default()),
        headers: HeaderMap::new(),
        rounds: 0,
        calls: 0,
        bytes: AtomicUsize::new(0),
        is_last: false,
    };
    match lead.go().await {
        Ok(stop) => lead.done(stop).await,
        Err(over) => lead.broken_off(over).await,
    }
}

impl<'a> Lead<'a> {
    fn who(&self) -> Who<'a> {
        Who {
            gateway: self.asked.gateway,
            request_id: self.asked.request_id,
            headers: self.asked.headers,
            admission: self.admission,
        }
    }

    async fn go(&mut self) -> Result<Stop, Over> {
        self.offer = Offer::list(self.who(), &self.asked.principal, self.tools).await?;
        self.offer.make(&mut self.dialogue).map_err(told::bad)?;
        for listed in std::mem::take(&mut self.offer.listed) {
            self.sink.serve(listed).await?;
        }
        self.make_approved().await?;
        loop {
            let round = self.ask().await?;
            self.rounds += 1;
            if let Some(error) = round.error {
                return Err(told::within(error).into());
            }
            let took = round.usage;
            let (own, others) = self.calls_of(&round.answer);
            let stop = round.answer.stop.clone().unwrap_or(Stop::End);
            let hands_back = self.hands_back(&own, &others);
            if own.is_empty() || hands_back || self.is_last || stop == Stop::Length {
                let stop = self.last(&round.answer, own, hands_back, stop).await?;
                self.sink.add(took.as_ref());
                return Ok(stop);
            }
            self.show(&round.answer, false);
            self.sink.add(took.as_ref());
            let asks_client = self.make_all(&round.answer, own).await?;
            if !others.is_empty() {
                // The client's own calls are the client's to make; it has what the others came to.
                return Ok(Stop::Tools);
            }
            if asks_client {
                return Ok(Stop::End);
            }
            self.bound(took.as_ref());
        }
    }

    /// The calls of an answer that are the gateway's to make, and the others.
    fn calls_of(&self, answer: &Answer) -> (Vec<Wanted>, Vec<Wanted>) {
        let calls = answer.parts.iter().filter_map(|part| match &part.kind {
            Kind::ToolUse { id, name, input } => Some(Wanted {
                id: id.clone(),
                name: name.clone(),
                input: input.clone(),
            }),
            _ => None,
        });
        calls.partition(|call| self.offer.find(&call.name).is_some())
    }

    /// Whether the client gets the calls instead of what comes of them. Responses have words for a call that was made and for one that is
    /// asked about; the other dialects have not, and there an answer has calls to make or the results of all.
    fn hands_back(&self, own: &[Wanted], others: &[Wanted]) -> bool {
        let asks = |call: &Wanted| self.offer.find(&call.name).is_some_and(|function| function.asks);
        self.asked.endpoint.dialect() != Dialect::Responses && (!others.is_empty() || own.iter().any(asks))
    }

    /// Ends with a round after which nothing is called.
    async fn last(
        &mut self,
        answer: &Answer,
        own: Vec<Wanted>,
        hands_back: bool,
        stop: Stop,
    ) -> Result<Stop, Over> {
        self.show(answer, true);
        let asks = own
            .iter()
            .any(|call| self.offer.find(&call.name).is_some_and(|function| function.asks));
        if !hands_back || !asks {
            // Of calls that are for both, the model asks for the gateway's again.
            let is_cut = !own.is_empty() && stop == Stop::Tools && !hands_back;
            return Ok(if is_cut { Stop::End } else { stop });
        }
        for call in own {
            let part = Part::new(Kind::ToolUse {
                id: call.id,
                name: call.name,
                input: call.input,
            });
            if self.sink.streams() {
                for event in part.events() {
                    self.sink.hear(event, None).await?;
                }
            } else {
                self.sink.keep(answer, [part], true);
            }
        }
        Ok(Stop::Tools)
    }

    /// What the client sees of a round, of a whole answer.
    fn show(&mut self, answer: &Answer, is_last: bool) {
        if self.sink.streams() {
            return;
        }
        let is_shown = |part: &&Part| match &part.kind {
            Kind::ToolUse { name, .. } => self.offer.find(name).is_none(),
            _ => true,
        };
        let parts: Vec<Part> = answer.parts.iter().filter(is_shown).cloned().collect();
        self.sink.keep(answer, parts, is_last);
    }

    /// Calls that the client approved are made before the model is asked.
    async fn make_approved(&mut self) -> Result<(), Over> {
        for wanted in self.dialogue.approved() {
            let came = match self.offer.find(&wanted.name) {
                Some(_) => self.make(vec![wanted]).await?.pop(),
                None => Some(call::not_made(
                    &wanted,
                    "",
                    "no tool of the request has this name: name its server in `tools`",
                )),
            };
            if let Some(Came { given, served }) = came {
                self.dialogue.fill(given);
                self.sink.serve(served).await?;
            }
        }
        Ok(())
    }

    /// Makes the calls of a round; whether the client has to be asked about some.
    async fn make_all(&mut self, answer: &Answer, own: Vec<Wanted>) -> Result<bool, Over> {
        let is_asked = |call: &Wanted| self.offer.find(&call.name).is_some_and(|function| function.asks);
        let (asked, made): (Vec<Wanted>, Vec<Wanted>) = own.into_iter().partition(is_asked);
        let came = self.make(made).await?;
        let mut given = Vec::with_capacity(came.len());
        for own in came {
            self.sink.serve(own.served).await?;
            given.push(own.given);
        }
        let asks_client = !asked.is_empty();
        for call in asked {
            let label = self.label(&call.name);
            self.sink.serve(Served::Asked(call::shown(&call, &label))).await?;
        }
        self.dialogue.go_on(answer, given);
        Ok(asks_client)
    }

    fn label(&self, name: &str) -> String {
        let tool = self.offer.find(name).and_then(|own| self.tools.get(own.tool));
        tool.map_or_else(String::new, |tool| tool.label.clone())
    }

    /// Makes calls, several at the same time; in their order.
    async fn make(&mut self, calls: Vec<Wanted>) -> Result<Vec<Came>, Over> {
        let left = MAX_CALLS.saturating_sub(self.calls);
        self.calls += calls.len();
        self.renew()?;
        let pinger = self.sink.pinger();
        let (this, who) = (&*self, self.who());
        let made = calls.iter().enumerate().map(|(index, wanted)| async move {
            let label = this.label(&wanted.name);
            let Some(function) = this.offer.find(&wanted.name) else {
                return call::not_made(wanted, &label, "there is no such tool");
            };
            if index >= left {
                let why = format!("one request makes {MAX_CALLS} calls at most");
                return call::not_made(wanted, &label, &why);
            }
            let at = function.tool;
            match offer::context(who, &this.asked.principal, &this.tools[at], at) {
                Ok(context) => {
                    let came = call::make(who.gateway, context, (wanted, &label), function).await;
                    let before = this.bytes.fetch_add(came.size(), Ordering::Relaxed);
                    if before.saturating_add(came.size()) <= MAX_BYTES {
                        came
                    } else {
                        let why =
                            format!("its answer is too large: all of one request have {MAX_BYTES} bytes");
                        call::not_made(wanted, &label, &why)
                    }
                }
                Err(refused) => call::not_made(wanted, &label, &refused.failure.message),
            }
        });
        let made: Vec<_> = made.collect();
        let all = futures_util::stream::iter(made)
            .buffered(AT_ONCE)
            .collect::<Vec<Came>>();
        let mut all = std::pin::pin!(all);
        loop {
            match timeout(PING, &mut all).await {
                Ok(came) => return Ok(came),
                Err(_) => pinger.ping().await?,
            }
        }
    }

    /// Who asks, as he is by now.
    #[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
    fn renew(&mut self) -> Result<(), Refused> {
        let now = self.asked.gateway.authenticator.renew(&self.asked.principal);
        self.asked.principal = Cow::Owned(now.map_err(told::route)?);
        // What it may call is a right of its own.
        let who = (self.asked.request_id, self.asked.headers);
        super::may_use_tools(self.asked.gateway, who).map(drop)
    }

    /// What the next round may take.
    fn bound(&mut self, took: Option<&Usage>) {
        let is_late = self.asked.began.elapsed() > MAX_TIME;
        let mut may_call = self.rounds < MAX_ROUNDS && self.calls < MAX_CALLS && !is_late;
        let written = took.and_then(|took| took.output);
        if let (Some(most), Some(written)) = (self.dialogue.max_tokens(), written) {
            let left = most.saturating_sub(written);
            may_call &= left > 0;
            self.dialogue.set_max_tokens(left.max(1));
        }
        if !may_call {
            self.is_last = true;
            self.dialogue.call_no_more();
        }
    }

    // === One round ===

    /// Asks the model, and hears its answer to the end.
    async fn ask(&mut self) -> Result<Round, Over> {
        let Some(pending) = self.pending.take() else {
            return Err(Refused::new(500, "a round was under way").into());
        };
        if self.rounds > 0
            && let Err(refused) = self.may_go_on()
        {
            self.pending = Some(pending);
            return Err(refused.into());
        }
        self.asked.request_bytes = self.dialogue.size();
        self.asked.dialogue = Some(self.dialogue.clone());
        let answered = fallback::answered(&mut self.asked, pending, &mut self.tries).await;
        let Answered { sending, ready, head } = match answered {
            Ok(answered) => answered,
            Err(nobody) => {
                self.pending = Some(nobody.pending);
                return Err(nobody.refused.into());
            }
        };
        self.headers = ask::headers(&self.asked, &ready, &head, &self.tries);
        // Whoever leaves within the answer pays for what came of it.
        let (bill, pending) = ScopeGuard::into_inner(sending);
        let under = (bill, pending, Heard::default());
        let mut under = scopeguard::guard(under, |(bill, mut pending, round)| {
            bill.settle_cut(&mut pending, round.usage, round.written);
        });
        if self.sink.streams() && self.rounds == 0 {
            let mut headers = self.headers.clone();
            spent::before(&mut headers, self.asked.gateway, &self.asked.principal, &under.1);
            self.sink.open(headers);
        }
        let read = if ask::is_stream(head.response.headers()) {
            self.hear(&ready, head, &mut under.2).await
        } else {
            self.read(&ready, head, &mut under.2).await
        };
        let (bill, mut pending, round) = ScopeGuard::into_inner(under);
        let written = round.written;
        match read {
            Ok(()) if round.error.is_none() => self.settle(&bill, &mut pending, (round.usage, written)),
            // It may have been done, and cost something.
            _ => {
                bill.settle_cut(&mut pending, round.usage, written);
                self.cost = None;
            }
        }
        self.pending = Some(pending);
        read?;
        let error = round.error.map(|error| ready.redacted(&printable(&error)));
        Ok(Round {
            answer: round.assembly.done(),
            usage: round.usage,
            error,
        })
    }

    fn settle(&mut self, bill: &Bill, pending: &mut Pending, (usage, written): (Option<Usage>, u64)) {
        let cost = bill.settle(pending, usage, written);
        self.cost = self.cost.zip(cost).map(|(before, cost)| before.and(&cost));
    }

    /// Between two rounds time has passed, and money was spent.
    #[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
    fn may_go_on(&mut self) -> Result<(), Refused> {
        let time = self.asked.time.unwrap_or(Duration::MAX);
        if self.asked.began.elapsed() >= time {
            return Err(told::late(time));
        }
        self.renew()?;
        let denied = trunkline_policy::decide_model(&self.asked.principal, &self.asked.request.model);
        if let trunkline_policy::Decision::Deny(denial) = denied {
            return Err(told::denied(denial, &self.asked.request.model));
        }
        let has_price = super::super::has_price(&self.asked.group, &self.asked.request, self.asked.endpoint);
        let limits = &self.asked.gateway.limits;
        limits
            .may_spend(&self.asked.principal, &self.asked.request.model, has_price)
            .map_err(|exceeded| told::limited(&exceeded))
    }

    /// A whole answer.
    async fn read(&mut self, ready: &Ready, head: Head, round: &mut Heard) -> Result<(), Over> {
        let limit = self.asked.gateway.upstreams.settings().max_message_bytes;
        let Some(way) = head.sent.way else {
            return Err(told::unreadable(ready, "nothing says how it is read").into());
        };
        let body = (head.response, head.time, head.until);
        let text = ask::read_text(ready, body, limit).await?;
        let read = translate::read_answer(&text, &way);
        let answer = read.map_err(|why| told::unreadable(ready, &why))?;
        round.usage = answer.usage;
        round.written = bill::tokens_of(text.len());
        let begin = Event::Begin {
            id: answer.id.clone(),
        };
        let parts = answer.parts.into_iter().flat_map(Part::events);
        let stop = answer.stop.map(Event::Stop);
        for event in std::iter::once(begin).chain(parts).chain(stop) {
            self.step(event, round).await?;
        }
        Ok(())
    }

    /// One that comes in pieces.
    async fn hear(&mut self, ready: &Ready, head: Head, round: &mut Heard) -> Result<(), Over> {
        let limit = self.asked.gateway.upstreams.settings().max_message_bytes;
        let Some(way) = head.sent.way else {
            return Err(told::unreadable(ready, "nothing says how it is read").into());
        };
        let mut incoming = Incoming::new(way, limit);
        let mut body = head.response.into_body();
        loop {
            let frame = timeout(head.time, body.frame()).await;
            let frame = frame.map_err(|_| told::fault(ready, Fault::timeout(Step::Call, head.time)))?;
            let piece: Option<Bytes> = match frame {
                None => None,
                Some(Ok(frame)) => Some(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => {
                    let text = "the connection broke within the answer";
                    let fault = Fault::new(OutcomeStatus::Unreachable, Step::Call, text);
                    return Err(told::fault(ready, fault).into());
                }
            };
            let mut told = Vec::new();
            let tell = |event: Event, _: Option<&Usage>| -> Result<(), Unreadable> {
                told.push(event);
                Ok(())
            };
            let read = match &piece {
                Some(piece) => incoming.feed(piece, tell),
                None => incoming.finish(tell),
            };
            round.usage = incoming.usage();
            for event in told {
                self.step(event, round).await?;
            }
            read.map_err(|why| told::unreadable(ready, &why.to_string()))?;
            if piece.is_none() {
                return Ok(());
            }
        }
    }

    /// One step of an answer: of what the gateway will call, the client hears nothing yet, and nothing of the round's end.
    async fn step(&mut self, event: Event, round: &mut Heard) -> Result<(), Over> {
        round.assembly.hear(&event);
        match &event {
            Event::Open(Kind::ToolUse { name, .. }) => round.is_own = self.offer.find(name).is_some(),
            Event::Open(_) => round.is_own = false,
            Event::Text(more) | Event::Thinking(more) | Event::Arguments(more) => {
                round.written += 1;
                round.bytes += more.len();
                let limit = self.asked.gateway.upstreams.settings().max_message_bytes;
                if round.bytes > limit {
                    let text = format!("an answer has more than {limit} bytes");
                    return Err(told::within(text).into());
                }
            }
            Event::Failed { json, .. } => round.error = Some(json.clone()),
            Event::Stop(_) | Event::Done => return Ok(()),
            _ => {}
        }
        let is_hidden = round.is_own && !matches!(event, Event::Ping | Event::Failed { .. });
        if self.sink.streams() && !is_hidden && !matches!(event, Event::Failed { .. }) {
            self.sink.hear(event, round.usage.as_ref()).await?;
        }
        Ok(())
    }

    // === The end ===

    async fn done(mut self, stop: Stop) -> Response {
        let Some(mut pending) = self.pending.take() else {
            return answer::json(StatusCode::INTERNAL_SERVER_ERROR, String::new());
        };
        if self.sink.streams() {
            let ended = self.sink.end(stop).await;
            pending.sent(self.sink.sent());
            if ended.is_ok() {
                pending.finish("ok", None);
            }
            return answer::json(StatusCode::OK, String::new());
        }
        let mut headers = std::mem::take(&mut self.headers);
        spent::after(
            &mut headers,
            self.asked.gateway,
            &self.asked.principal,
            (&pending, self.cost),
        );
        let text = match self.sink.whole(stop) {
            Ok(text) => text,
            Err(why) => {
                let refused = Refused::new(500, format!("the answer cannot be handed on: {why}"));
                pending.finish(refused.word, Some(why));
                return refused.answer_in(self.asked.endpoint.dialect(), self.asked.request_id);
            }
        };
        pending.sent(text.len());
        pending.finish("ok", None);
        let mut response = answer::json(StatusCode::OK, text);
        response.headers_mut().extend(headers);
        response
    }

    async fn broken_off(mut self, over: Over) -> Response {
        let pending = self.pending.take();
        let (refused, mut pending) = match (over, pending) {
            (Over::Refused(refused), Some(pending)) => (refused, pending),
            (Over::Refused(refused), None) => {
                return refused.answer_in(self.asked.endpoint.dialect(), self.asked.request_id);
            }
            // Dropping its record says so.
            (Over::Left, _) => return answer::json(StatusCode::OK, String::new()),
        };
        if self.sink.is_open() {
            self.sink.fail(&refused.failure).await;
            pending.sent(self.sink.sent());
            pending.finish(refused.word, Some(refused.failure.message));
            return answer::json(StatusCode::OK, String::new());
        }
        ask::refuse(&self.asked, refused, pending, &self.tries)
    }
}

/// What was heard of a round.
#[derive(Default)]
struct Heard {
    assembly: Assembly,
    usage: Option<Usage>,
    /// Tokens, about.
    written: u64,
    bytes: usize,
    /// The part that is open is a call of the gateway's.
    is_own: bool,
    error: Option<String>,
}
