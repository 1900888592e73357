//! `max_concurrent_requests`: a bounded number of places, and a queue in which those who ask take turns (B06).
//!
//! Principals take turns, and the clients of one principal take turns among themselves, so that whoever sends a thousand
//! calls waits for these and does not make others wait. When the queue is full, whoever has the most in it makes room: the
//! last call of the longest line is turned away, which is the new one if its own line is the longest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use trunkline_model::SessionKey;

/// A principal, as far as turns depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller(pub(crate) u64);

/// Calls that may wait, per place.
const WAITING_PER_PLACE: usize = 16;

/// The places and the queue.
#[derive(Debug)]
pub(crate) struct Places {
    state: Mutex<State>,
    max_waiting: usize,
}

/// A place; whoever is next has it when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Option<Arc<Places>>);

/// There is no room in the queue, which has so many calls.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crowded(pub(crate) usize);

/// Where a call comes from.
type Who = (Caller, Option<SessionKey>);
type Turn = Result<Place, Crowded>;

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
    /// Who is first has the next turn. None is empty.
    callers: VecDeque<Clients>,
    tickets: u64,
}

/// The clients of one caller.
#[derive(Debug)]
struct Clients {
    caller: Caller,
    waiting: usize,
    /// Who is first has the caller's next turn. None is empty.
    lines: VecDeque<Line>,
}

/// The calls of one client, the oldest first.
#[derive(Debug)]
struct Line {
    client: Option<SessionKey>,
    calls: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

impl Places {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: count,
                waiting: 0,
                callers: VecDeque::new(),
                tickets: 0,
            }),
            max_waiting: count.saturating_mul(WAITING_PER_PLACE),
        })
    }

    /// Waits for a place. Cancel-safe: whoever is dropped leaves the queue, or gives the place on.
    pub(crate) async fn enter(self: &Arc<Self>, who: Who) -> Turn {
        let (ticket, turn) = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Place(Some(self.clone())));
            }
            state.make_room(who, self.max_waiting)?;
            state.join(who)
        };
        let mut waiting = Waiting {
            places: self,
            who,
            ticket: Some(ticket),
        };
        let turn = turn.await;
        waiting.ticket = None;
        // The sender is never dropped before it has said something.
        turn.unwrap_or(Err(Crowded(self.max_waiting)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_on(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Ok(Place(Some(self.clone())))) {
                // It left at this moment: the one after it is asked.
                Err(Ok(mut place)) => place.0 = None,
                Ok(()) | Err(Err(_)) => return,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.give_on();
        }
    }
}

/// Somebody in the queue.
struct Waiting<'a> {
    places: &'a Places,
    who: Who,
    ticket: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.places.state().leave(self.who, ticket);
        }
    }
}

impl State {
    fn join(&mut self, (caller, client): Who) -> (u64, oneshot::Receiver<Turn>) {
        self.tickets += 1;
        self.waiting += 1;
        let at = self.callers.iter().position(|own| own.caller == caller);
        let at = at.unwrap_or_else(|| {
            self.callers.push_back(Clients {
                caller,
                waiting: 0,
                lines: VecDeque::new(),
            });
            self.callers.len() - 1
        });
        let (sender, receiver) = oneshot::channel();
        if let Some(clients) = self.callers.get_mut(at) {
            clients.waiting += 1;
            let call = (self.tickets, sender);
            match clients.lines.iter_mut().find(|line| line.client == client) {
                Some(line) => line.calls.push_back(call),
                None => clients.lines.push_back(Line {
                    client,
                    calls: VecDeque::from([call]),
                }),
            }
        }
        (self.tickets, receiver)
    }

    /// The oldest call of whoever has the next turn, who is last from now on.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let mut clients = self.callers.pop_front()?;
        let mut line = clients.lines.pop_front()?;
        let (_, call) = line.calls.pop_front()?;
        self.waiting -= 1;
        clients.waiting -= 1;
        if !line.calls.is_empty() {
            clients.lines.push_back(line);
        }
        if !clients.lines.is_empty() {
            self.callers.push_back(clients);
        }
        Some(call)
    }

    fn leave(&mut self, (caller, client): Who, ticket: u64) {
        let Some(at) = self.callers.iter().position(|own| own.caller == caller) else {
            return;
        };
        let Some(clients) = self.callers.get_mut(at) else {
            return;
        };
        let Some(line_at) = clients.lines.iter().position(|line| line.client == client) else {
            return;
        };
        let Some(line) = clients.lines.get_mut(line_at) else {
            return;
        };
        let before = line.calls.len();
        line.calls.retain(|(own, _)| *own != ticket);
        let left = before - line.calls.len();
        clients.waiting -= left;
        self.waiting -= left;
        if line.calls.is_empty() {
            clients.lines.remove(line_at);
        }
        if clients.lines.is_empty() {
            self.callers.remove(at);
        }
    }

    /// Room for one more, at the cost of the longest line; an error if that is the newcomer's own.
    fn make_room(&mut self, (caller, client): Who, max: usize) -> Result<(), Crowded> {
        if self.waiting < max {
            return Ok(());
        }
        let crowded = Crowded(self.waiting);
        let own = self.callers.iter().find(|own| own.caller == caller);
        let own_waiting = own.map_or(0, |own| own.waiting);
        let own_line = own.and_then(|own| own.lines.iter().find(|line| line.client == client));
        let own_line = own_line.map_or(0, |line| line.calls.len());
        let Some(longest) = self.callers.iter_mut().max_by_key(|clients| clients.waiting) else {
            return Err(crowded);
        };
        let is_own = longest.caller == caller || own_waiting + 1 >= longest.waiting;
        if is_own && longest.caller != caller {
            return Err(crowded);
        }
        let Some(line) = longest.lines.iter_mut().max_by_key(|line| line.calls.len()) else {
            return Err(crowded);
        };
        if is_own && own_line + 1 >= line.calls.len() {
            return Err(crowded);
        }
        // Lines have at least one call; what is left empty would be no line.
        let Some((_, last)) = line.calls.pop_back() else {
            return Err(crowded);
        };
        longest.waiting -= 1;
        self.waiting -= 1;
        longest.lines.retain(|line| !line.calls.is_empty());
        self.callers.retain(|clients| !clients.lines.is_empty());
        // Who left at this moment does not hear it.
        let _ = last.send(Err(crowded));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Enter = Pin<Box<dyn Future<Output = Turn>>>;

    const LOUD: Caller = Caller(1);
    const QUIET: Caller = Caller(2);

    const FIRST: Option<SessionKey> = Some(SessionKey([1; 16]));
    const SECOND: Option<SessionKey> = Some(SessionKey([2; 16]));

    fn poll(enter: &mut Enter) -> Poll<Turn> {
        enter.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits, in the queue already.
    fn queued(places: &Arc<Places>, who: Who) -> Enter {
        let places = places.clone();
        let mut enter: Enter = Box::pin(async move { places.enter(who).await });
        assert!(poll(&mut enter).is_pending(), "there was a place");
        enter
    }

    fn place(enter: &mut Enter) -> Option<Place> {
        match poll(enter) {
            Poll::Ready(turn) => Some(turn.expect("a place")),
            Poll::Pending => None,
        }
    }

    fn taken(places: &Arc<Places>) -> Place {
        let mut enter: Enter = Box::pin({
            let places = places.clone();
            async move { places.enter((Caller(0), None)).await }
        });
        place(&mut enter).expect("a free place")
    }

    #[test]
    fn b06_one_principal_with_many_calls_does_not_make_another_wait_for_them() {
        let places = Places::new(4);
        let running: Vec<Place> = (0..4).map(|_| taken(&places)).collect();
        let mut loud: Vec<Enter> = (0..64).map(|_| queued(&places, (LOUD, FIRST))).collect();
        // The queue is full of the other's calls: the last of them makes room.
        let mut quiet = queued(&places, (QUIET, SECOND));
        assert!(
            matches!(poll(&mut loud[63]), Poll::Ready(Err(Crowded(64)))),
            "the last of the longest line"
        );
        drop(running);
        assert!(place(&mut quiet).is_some(), "second in turn, of four places");
        assert_eq!(
            loud.iter_mut().take(63).filter_map(place).count(),
            63,
            "given on, one after the other"
        );
        assert_eq!(places.state().free, 4);
    }

    #[test]
    fn b06_the_clients_of_one_principal_take_turns() {
        let places = Places::new(1);
        let mut running = Some(taken(&places));
        let many = (0..10).map(|_| (1, FIRST));
        let few = (0..2).map(|_| (2, SECOND));
        let mut waiting: Vec<(u8, Option<Enter>)> = many
            .chain(few)
            .map(|(name, client)| (name, Some(queued(&places, (LOUD, client)))))
            .collect();
        let mut order = Vec::new();
        for _ in 0..4 {
            drop(running.take());
            for (name, enter) in &mut waiting {
                if let Some(next) = enter.as_mut().and_then(place) {
                    order.push(*name);
                    running = Some(next);
                    *enter = None;
                    break;
                }
            }
        }
        assert_eq!(order, [1, 2, 1, 2]);
    }

    #[test]
    fn a_full_line_turns_its_own_newcomer_away() {
        let places = Places::new(1);
        let _running = taken(&places);
        let _waiting: Vec<Enter> = (0..16).map(|_| queued(&places, (LOUD, FIRST))).collect();
        let mut late: Enter = Box::pin({
            let places = places.clone();
            async move { places.enter((LOUD, FIRST)).await }
        });
        assert!(matches!(poll(&mut late), Poll::Ready(Err(Crowded(16)))));
        assert_eq!(places.state().waiting, 16);
    }

    #[test]
    fn who_leaves_takes_no_place_with_them() {
        let places = Places::new(1);
        let running = taken(&places);
        let first = queued(&places, (LOUD, FIRST));
        let second = queued(&places, (QUIET, None));
        let mut third = queued(&places, (QUIET, None));
        drop(first);
        assert_eq!(places.state().waiting, 2);
        drop(running);
        // It has the place, and goes without having looked.
        drop(second);
        let last = place(&mut third).expect("the place went on");
        let numbers = |state: MutexGuard<'_, State>| (state.free, state.waiting);
        assert_eq!(numbers(places.state()), (0, 0));
        drop(last);
        assert_eq!(places.state().free, 1);
        assert!(places.state().callers.is_empty());
    }
}
