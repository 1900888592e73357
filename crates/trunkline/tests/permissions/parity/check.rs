//! Asks every request of every row on every way at every entry.

use futures_util::{StreamExt as _, stream};
use trunkline_testkit::{HttpClient, Recorded};

use super::methods::{self, Request};
use super::rows::{self, Hides, Row, Thing};
use super::ways::{Answer, ENTRIES, Entry, Line, WAYS, Way};
use super::world::{NOBODY, SERVERS, World};

/// Rows that are asked at the same time.
const AT_ONCE: usize = 4;
/// A toolset that nobody has, of the length of the one that a caller may be without.
const NO_TOOLSET: &str = "none";

/// One place that a row is asked at.
struct Cell<'a> {
    row: &'a Row,
    way: Way,
    entry: Entry,
}

impl Cell<'_> {
    /// Whether this caller has the place.
    fn is_there(&self) -> bool {
        match self.entry {
            Entry::Whole => true,
            Entry::Toolset => self.row.toolset.1,
            Entry::Own | Entry::Path | Entry::Header => {
                self.row.hides != Hides::Server || self.row.selects != self.row.server
            }
        }
    }

    fn allows(&self, thing: Thing) -> bool {
        // A toolset is of tools.
        self.row.allows(thing) && (self.entry != Entry::Toolset || thing != Thing::Beyond)
    }

    /// The same words about what nobody has.
    fn nobodys(&self, thing: Option<Thing>) -> impl Fn(&str) -> String {
        let (row, is_there) = (self.row, self.is_there());
        let is_tool = is_there && thing == Some(Thing::Write) && row.hides == Hides::Write;
        let is_tool = is_tool || row.hides == Hides::AllButRead && thing == Some(Thing::Write);
        let (server, toolset) = (row.server, row.toolset.0);
        let is_place = !is_there && self.entry == Entry::Toolset;
        move |text| {
            if is_tool {
                return text.replace("write", "empty");
            }
            let text = text.replace(server, NOBODY);
            if is_place {
                text.replace(toolset, NO_TOOLSET)
            } else {
                text
            }
        }
    }

    /// Whether what is not known to be anybody's is another server's, which it is asked of: where that one is selected, or the only
    /// one that is left.
    fn is_for_another(&self) -> bool {
        self.entry == Entry::Whole || self.row.selects != self.row.server && self.entry != Entry::Toolset
    }

    /// Asks everything there, and gives what is wrong.
    async fn check(&self, http: &HttpClient) -> Vec<String> {
        let (row, way, entry) = (self.row, self.way, self.entry);
        let mut line = Line::open(way, entry, http, row.selects, row.toolset.0).await;
        let mut nobodys = if self.is_there() {
            None
        } else {
            Some(Line::open(way, entry, http, NOBODY, NO_TOOLSET).await)
        };
        let mut wrong = Vec::new();
        for request in methods::of(row.server) {
            if !line.speaks(request.method) {
                continue;
            }
            let answer = line.ask(request.method, &request.params).await;
            let is_right = match (request.thing, nobodys.as_mut()) {
                (None, None) => self.is_right_list(&request, &answer),
                // Refused, and not hidden: the caller reads why.
                (Some(Thing::Write), None) if row.hides == Hides::CallsOfWrite => {
                    let reason = row.denial.unwrap().reason.as_str();
                    !answer.is_done() && answer.body.to_string().contains(reason)
                }
                (Some(thing), None) if self.allows(thing) => {
                    answer.is_done() || !is_served(way, entry, &request)
                }
                (Some(_), None) if !request.named => self.is_for_another() || !answer.is_done(),
                (thing, nobodys) => {
                    let replace = self.nobodys(thing);
                    let params = serde_json::from_str(&replace(&request.params.to_string())).unwrap();
                    let expected = nobodys.unwrap_or(&mut line).ask(request.method, &params).await;
                    let may_be_done = self.is_for_another() && thing == Some(Thing::Beyond);
                    let is_right = answer.about(replace) == expected && (may_be_done || !answer.is_done());
                    if !is_right {
                        wrong.push(format!("not as {expected:?}:"));
                    }
                    is_right
                }
            };
            if !is_right {
                wrong.push(format!("{}: {way:?} {entry:?} {request:?}: {answer:?}", row.what));
            }
        }
        wrong
    }

    /// Whether a list shows of the server what may be used, and nothing else.
    fn is_right_list(&self, request: &Request, answer: &Answer) -> bool {
        let (row, server) = (self.row, self.row.server);
        if row.hides == Hides::Server && answer.body.to_string().contains(server) {
            return false;
        }
        if answer.status != 200 {
            return false;
        }
        if request.method == "tools/list" {
            let Some(tools) = answer.tools() else { return false };
            let is_shown = |name: &str| tools.contains(&format!("{server}-{name}"));
            return is_shown("read") == self.allows(Thing::Read)
                && is_shown("write") == self.allows(Thing::Write);
        }
        let mark = match request.method {
            "prompts/list" => format!("{server}-greet"),
            _ => format!("memo://{server}/"),
        };
        let is_list = answer.body["result"].is_object();
        is_list && answer.body["result"].to_string().contains(&mark) == self.allows(Thing::Beyond)
    }
}

/// Whether there is such a request there: not each method is in each era, and what only the server knows needs a path that says
/// which one.
fn is_served(way: Way, entry: Entry, request: &Request) -> bool {
    match request.method {
        "resources/subscribe" => matches!(way, Way::Session | Way::Sse),
        "experimental/thing" => way != Way::Modern && matches!(entry, Entry::Own),
        "tasks/list" => false,
        _ => true,
    }
}

async fn check_row(world: &World, number: usize, row: &Row) -> Vec<String> {
    let http = world.client(number, row).await;
    let mut wrong = Vec::new();
    for way in WAYS {
        for entry in ENTRIES {
            // Without a selection, nothing is outside of it.
            if entry == Entry::Whole && row.selects != row.server {
                continue;
            }
            wrong.append(&mut Cell { row, way, entry }.check(&http).await);
        }
    }
    wrong
}

/// Asks all rows that hide so much; what went to the servers meanwhile.
async fn requests_of(world: &World, rows: &[(usize, Row)], hides: Hides) -> Vec<(&'static str, Recorded)> {
    for own in &world.upstreams {
        own.clear();
    }
    let asked: Vec<&(usize, Row)> = rows.iter().filter(|(_, row)| row.hides == hides).collect();
    assert!(!asked.is_empty(), "{hides:?}");
    let checks = asked.iter().map(|(number, row)| check_row(world, *number, row));
    let wrong: Vec<Vec<String>> = stream::iter(checks).buffer_unordered(AT_ONCE).collect().await;
    let wrong = wrong.concat();
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let hidden = SERVERS
        .into_iter()
        .filter(|name| asked.iter().any(|(_, row)| row.server == *name));
    hidden
        .flat_map(|name| {
            world
                .upstream(name)
                .requests()
                .into_iter()
                .map(move |own| (name, own))
        })
        .collect()
}

/// Whoever may sees all lists once, in both eras, so that the gateway has no reason to fetch anything for anybody else.
async fn see_everything(world: &World) {
    let inside = world.gateway.client().with_header("x-forwarded-for", "10.1.2.3");
    for way in [Way::Bare, Way::Modern] {
        let mut master = Line::open(way, Entry::Whole, &inside, "", "").await;
        for request in methods::of("files")
            .iter()
            .filter(|request| request.thing.is_none())
        {
            let answer = master.ask(request.method, &request.params).await;
            assert!(answer.is_done(), "{request:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn b40_b43_s34_s35_every_rule_is_the_same_for_every_method_on_every_way_at_every_entry() {
    let world = World::new().await;
    let rows: Vec<(usize, Row)> = rows::all().into_iter().enumerate().collect();
    see_everything(&world).await;
    let seen = |requests: &[(&str, Recorded)]| {
        let lines = requests
            .iter()
            .map(|(name, own)| format!("{name}: {}", own.everything()));
        lines.collect::<Vec<_>>().join("\n")
    };

    let reached = requests_of(&world, &rows, Hides::Server).await;
    assert!(reached.is_empty(), "{}", seen(&reached));

    for hides in [Hides::Write, Hides::CallsOfWrite] {
        let mut reached = requests_of(&world, &rows, hides).await;
        reached.retain(|(_, own)| own.json()["params"]["name"] == "write");
        assert!(reached.is_empty(), "{}", seen(&reached));
    }

    let mut reached = requests_of(&world, &rows, Hides::AllButRead).await;
    let session = [
        "initialize",
        "notifications/initialized",
        "tools/list",
        "GET",
        "DELETE",
    ];
    reached.retain(|(_, own)| {
        let is_read = own.is("tools/call") && own.json()["params"]["name"] == "read";
        !is_read && !session.iter().any(|method| own.is(method))
    });
    assert!(reached.is_empty(), "{}", seen(&reached));

    // And that what is shown above could have been otherwise.
    let reached = requests_of(&world, &rows, Hides::Nothing).await;
    for request in methods::of("files")
        .iter()
        .filter(|request| request.thing.is_some())
    {
        let is_there = reached.iter().any(|(_, own)| own.is(request.method));
        assert!(is_there || request.method == "tasks/list", "{request:?}");
    }
}
