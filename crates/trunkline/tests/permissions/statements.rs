//! Every statement on the path of a caller's rights fails in turn: the connection breaks when it is sent, on every replica, while people
//! call, change and revoke. Whatever fails, nobody gets more than it has, nothing goes where it must not, no tool runs without its yes,
//! and what was not done is not said to be.
//!
//! The statements are those of the code: one that is new has to be in one of the lists.

mod lists;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{HttpClient, McpClient, ScratchDatabase, ScriptedUpstream, TestGateway, eventually};

use lists::{BESIDE, CALLS, CHANGES, READS};

use crate::saboteur::Saboteur;
use crate::support::{PATIENCE, Way, config, generate, listed, post, set, toolset, with};

/// Two replicas behind the wire, and a caller who has one tool of all.
struct World {
    saboteur: Saboteur,
    database: ScratchDatabase,
    gateways: Vec<TestGateway>,
    files: ScriptedUpstream,
    notes: ScriptedUpstream,
    key: String,
    token: String,
    /// Calls of `danger` that somebody said yes to.
    yes: usize,
    number: usize,
    /// What sent a statement first while nothing failed.
    sent_by: HashMap<String, Doing>,
}

impl World {
    async fn start() -> Option<Self> {
        let database = ScratchDatabase::create()?;
        let url = database.url();
        let (user, rest) = url.split_once('@').unwrap();
        let (address, name) = rest.split_once('/').unwrap();
        let address = if address.contains(':') {
            address.to_owned()
        } else {
            format!("{address}:5432")
        };
        let saboteur = Saboteur::new(&address).await;
        let url = format!("{user}@127.0.0.1:{}/{name}", saboteur.port());
        let files = ScriptedUpstream::builder()
            .tool(tool("echo"))
            .tool(tool("danger"))
            .start()
            .await;
        let notes = ScriptedUpstream::start().await;
        let text = config(&[
            ("files", &files, "    tool_approval: {danger: always}\n"),
            ("notes", &notes, ""),
        ]);
        let builder = TestGateway::builder().config(&text).database_url(&url);
        let gateways = vec![builder.clone().start().await, builder.start().await];
        for gateway in &gateways {
            listed(gateway, &["files", "notes"]).await;
        }
        let first = &gateways[0];
        let of = |names: Value| json!({"mcp_servers": names});
        toolset(
            first,
            "suite",
            &[("files", "echo"), ("files", "danger"), ("notes", "echo")],
        )
        .await;
        let organization = json!({"organization_id": "o", "organization_alias": "o", "object_permission": of(json!(["files"]))});
        post(first, "/organization/new", organization).await;
        let team = json!({"team_id": "t", "organization_id": "o", "object_permission": of(json!(["files", "notes"]))});
        post(first, "/team/new", team).await;
        let user = json!({"user_id": "u", "auto_create_key": false, "object_permission": {"mcp_toolsets": ["suite"]}});
        post(first, "/user/new", user).await;
        post(
            first,
            "/customer/new",
            json!({"user_id": "e", "object_permission": of(json!(["files"]))}),
        )
        .await;
        let made = generate(
            first,
            json!({"team_id": "t", "user_id": "u", "rpm_limit": 10_000, "object_permission": of(json!(["files", "notes"]))}),
        )
        .await;
        let world = Self {
            saboteur,
            database,
            key: made["key"].as_str().unwrap().to_owned(),
            token: made["token"].as_str().unwrap().to_owned(),
            gateways,
            files,
            notes,
            yes: 0,
            number: 0,
            sent_by: HashMap::new(),
        };
        for gateway in &world.gateways {
            let caller = world.caller(gateway);
            eventually("the key is known", PATIENCE, async || {
                Way::Bare.tools(&caller, None).await == Ok(Self::own())
            })
            .await;
        }
        Some(world)
    }

    fn own() -> BTreeSet<String> {
        set(&["files-echo", "files-danger"])
    }

    fn caller(&self, gateway: &TestGateway) -> HttpClient {
        with(gateway, &self.key)
            .with_header("x-litellm-end-user-id", "e")
            .with_limit(PATIENCE)
    }

    fn admin(&self, number: usize) -> HttpClient {
        self.gateways[number].client().with_limit(PATIENCE)
    }

    fn dangers(&self) -> usize {
        let requests = self.files.requests();
        let calls = requests.iter().filter(|request| request.is("tools/call"));
        calls
            .filter(|call| call.json()["params"]["name"] == "danger")
            .count()
    }

    /// A request of the first replica's administrator; its status and what it was answered. No failure is a 500.
    async fn manage(&self, what: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let admin = self.admin(0);
        let reply = match method {
            "PUT" => admin.put(path, &body).await,
            "DELETE" => admin.delete(path).await,
            _ => admin.post(path, &body).await,
        };
        let status = reply.status.as_u16();
        assert!(
            matches!(status, 200..=204 | 400 | 404 | 409 | 503),
            "{what}: {method} {path}: {status} {}",
            reply.text()
        );
        (status, serde_json::from_str(&reply.text()).unwrap_or_default())
    }

    async fn call(way: Way, http: &HttpClient, tool: &str, arguments: Value) -> (u16, Value) {
        let params = json!({"name": tool, "arguments": arguments});
        way.ask(http, None, "tools/call", &params).await
    }

    /// How many requests the server has had, once what others began has arrived: ends of sessions are sent beside everything else.
    async fn all_is_sent(&self) -> usize {
        loop {
            let count = self.files.requests().len();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.files.requests().len() == count {
                return count;
            }
        }
    }

    /// What is there for nobody, whatever fails.
    async fn nobody_gets_more(&self, what: &str) {
        for gateway in &self.gateways {
            let stranger = with(gateway, "sk-nobodys-key-0123456789");
            let caller = self.caller(gateway);
            for way in [Way::Bare, Way::Rest] {
                let before = self.all_is_sent().await;
                let (status, said) = Self::call(way, &stranger, "files-echo", json!({"message": "x"})).await;
                assert!(matches!(status, 401 | 503), "{what} {way:?}: {status} {said}");
                let sent = self.files.requests().split_off(before);
                assert!(sent.is_empty(), "{what} {way:?}: of a stranger: {sent:?}");
                match way.tools(&caller, None).await {
                    Ok(tools) => assert!(tools.is_subset(&Self::own()), "{what} {way:?}: {tools:?}"),
                    Err(status) => assert!(matches!(status, 401 | 403 | 503), "{what} {way:?}: {status}"),
                }
                let (status, said) = Self::call(way, &caller, "notes-echo", json!({"message": "x"})).await;
                assert!(status < 500 || status == 503, "{what} {way:?}: {status} {said}");
                let (status, said) = Self::call(way, &caller, "files-echo", json!({"message": "x"})).await;
                assert!(
                    matches!(status, 200 | 401 | 403 | 429 | 503),
                    "{what} {way:?}: {status} {said}"
                );
            }
        }
        assert_eq!(self.notes.count("tools/call"), 0, "{what}");
    }

    /// A call that needs a yes: without it nothing is sent, and with it once at most, whatever fails on the way.
    async fn no_tool_runs_without_its_yes(&mut self, what: &str) {
        self.number += 1;
        let arguments = json!({"message": self.number.to_string()});
        let caller = self.caller(&self.gateways[1]);
        let before = self.dangers();
        let (status, said) = Self::call(Way::Rest, &caller, "files-danger", arguments.clone()).await;
        assert!(matches!(status, 401 | 403 | 429 | 503), "{what}: {status} {said}");
        assert_eq!(self.dangers(), before, "{what}: without a yes");
        let text = said["detail"]["message"].as_str().unwrap_or_default();
        let id = text
            .split_once("Its approval is ")
            .map(|(_, rest)| rest.split(':').next().unwrap().to_owned());
        if let Some(id) = id {
            let path = format!("/v1/mcp/approvals/{id}/approve");
            let (status, _) = self.manage(what, "POST", &path, json!({})).await;
            let said_yes = status == 200;
            self.yes += usize::from(said_yes);
            for _ in 0..2 {
                Self::call(Way::Rest, &caller, "files-danger", arguments.clone()).await;
            }
            assert!(
                self.dangers() - before <= usize::from(said_yes),
                "{what}: {said_yes}"
            );
        }
    }

    /// A key that may be used twice a minute, on both replicas together. While what is shared cannot be asked for, a replica that knows nothing
    /// of the other's calls adds its part to what that one has taken before (ADR 33): one call.
    async fn limits_hold(&self, what: &str) {
        let body = json!({"rpm_limit": 2, "max_parallel_requests": 2, "object_permission": {"mcp_servers": ["files"]}});
        let (status, made) = self.manage(what, "POST", "/key/generate", body).await;
        if status != 200 {
            return;
        }
        // A replica that does not know the key yet lets nothing through, which shows nothing of limits.
        let there = with(&self.gateways[1], made["key"].as_str().unwrap()).with_limit(PATIENCE);
        for _ in 0..100 {
            if Way::Bare.tools(&there, None).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let before = self.files.count("tools/call");
        let mut said = Vec::new();
        for _ in 0..2 {
            for gateway in &self.gateways {
                let http = with(gateway, made["key"].as_str().unwrap()).with_limit(PATIENCE);
                said.push(Self::call(Way::Bare, &http, "files-echo", json!({"message": "x"})).await);
            }
        }
        let sent = self.files.count("tools/call") - before;
        let most = if what.starts_with("LIMIT_") { 3 } else { 2 };
        assert!(sent <= most, "{what}: {sent} of two: {said:?}");
    }

    /// Sessions of clients, at the other replica, too, and their end.
    async fn sessions(&self, what: &str) {
        let (one, other) = (self.caller(&self.gateways[0]), self.caller(&self.gateways[1]));
        let mut client = McpClient::over(one, "/mcp");
        if client.initialize_only().await.status != 200 {
            return;
        }
        client
            .request("logging/setLevel", &json!({"level": "info"}))
            .await;
        let call = json!({"name": "files-echo", "arguments": {"message": "x"}});
        client.request("tools/call", &call).await;
        let mut there = McpClient::over(other, "/mcp");
        there.set_session(client.session());
        there.request("tools/call", &call).await;
        let ended = client.delete().await.status;
        assert!(ended.as_u16() < 500 || ended == 503, "{what}: {ended}");
        if ended.is_success() {
            let (status, said) = {
                let reply = client.request("tools/call", &call).await;
                (reply.status.as_u16(), reply.everything())
            };
            assert_eq!(status, 404, "{what}: its end was said: {said}");
        }
    }

    /// A change: it is made and in the audit log, or it is not said to be.
    async fn changes_are_made_or_not(&mut self, what: &str) {
        self.number += 1;
        let alias = format!("alias-{}", self.number);
        let body = json!({"key": self.token, "key_alias": alias});
        let (status, _) = self.manage(what, "POST", "/key/update", body).await;
        let count = |table: &str, of: &str| {
            let statement = format!("SELECT count(*) FROM {table} WHERE {of}");
            self.database.sql(&statement).trim().parse::<usize>().unwrap()
        };
        let rows = count("verification_token", &format!("key_alias = '{alias}'"));
        let logged = count("audit_log", &format!("updated_values LIKE '%{alias}%'"));
        assert_eq!(
            (rows > 0, logged > 0),
            (status == 200, status == 200),
            "{what}: {status}"
        );
    }

    /// A key that was blocked, or has another secret, or is gone, is so from the answer on.
    async fn what_is_revoked_is_revoked(&self, what: &str) {
        let (gateway, all) = (
            &self.gateways[0],
            json!({"object_permission": {"mcp_servers": ["files"]}}),
        );
        for (path, member) in [
            ("/key/block", "key"),
            ("/key/regenerate", "key"),
            ("/key/delete", "keys"),
        ] {
            let (status, made) = self.manage(what, "POST", "/key/generate", all.clone()).await;
            if status != 200 {
                return;
            }
            let named = match member {
                "keys" => json!({"keys": [made["token"]]}),
                _ => json!({"key": made["token"]}),
            };
            let (status, _) = self.manage(what, "POST", path, named).await;
            if status == 200 {
                let http = with(gateway, made["key"].as_str().unwrap());
                let before = self.files.count("tools/call");
                let (status, said) =
                    Self::call(Way::Bare, &http, "files-echo", json!({"message": "x"})).await;
                assert!(matches!(status, 401 | 403), "{what} {path}: {status} {said}");
                assert_eq!(self.files.count("tools/call"), before, "{what} {path}");
            }
        }
    }

    /// Everything else that changes who may do what.
    async fn all_changes(&mut self, what: &str) {
        self.number += 1;
        let name = format!("n{}", self.number);
        let url = self.notes.url();
        let reset = format!("/key/{}/reset_spend", self.token);
        for (method, path, body) in [
            ("POST", reset.as_str(), json!({"reset_to": 0})),
            ("POST", "/budget/new", json!({"budget_id": name, "rpm_limit": 5})),
            (
                "POST",
                "/user/new",
                json!({"user_id": name, "auto_create_key": false}),
            ),
            (
                "POST",
                "/organization/new",
                json!({"organization_id": name, "organization_alias": name}),
            ),
            ("POST", "/team/new", json!({"team_id": name})),
            ("POST", "/customer/new", json!({"user_id": name})),
            (
                "POST",
                "/v1/mcp/toolset",
                json!({"toolset_name": name, "tools": []}),
            ),
            (
                "POST",
                "/v1/mcp/server",
                json!({"server_id": name, "alias": name, "url": url, "transport": "http"}),
            ),
            (
                "PUT",
                "/v1/mcp/server",
                json!({"server_id": name, "description": "x"}),
            ),
            ("DELETE", &format!("/v1/mcp/server/{name}"), Value::Null),
            ("POST", "/customer/delete", json!({"user_ids": [name]})),
            ("POST", "/team/delete", json!({"team_ids": [name]})),
            ("POST", "/user/delete", json!({"user_ids": [name]})),
            ("POST", "/budget/delete", json!({"id": name})),
        ] {
            self.manage(what, method, path, body).await;
            // The rest is as it was before.
            if self.saboteur.hits() > 0 {
                return;
            }
        }
        let admin = self.admin(0);
        let rows = admin.get("/v1/mcp/toolset").await;
        if rows.status == 200 {
            for row in rows
                .json()
                .as_array()
                .unwrap()
                .iter()
                .filter(|row| row["toolset_name"] == *name)
            {
                let id = row["toolset_id"].as_str().unwrap();
                let body = json!({"toolset_id": id, "description": "x"});
                self.manage(what, "PUT", "/v1/mcp/toolset", body).await;
                self.manage(what, "DELETE", &format!("/v1/mcp/toolset/{id}"), Value::Null)
                    .await;
            }
        }
        let gone = json!({"organization_ids": [name]});
        let request = delete(&admin, "/organization/delete", &gone).await;
        assert!(request < 500 || request == 503, "{what}: {request}");
    }

    async fn go(&mut self, doing: Doing, what: &str) {
        match doing {
            Doing::Change => self.changes_are_made_or_not(what).await,
            Doing::Revoke => self.what_is_revoked_is_revoked(what).await,
            Doing::ChangeAll => self.all_changes(what).await,
            Doing::Limits => self.limits_hold(what).await,
            Doing::Yes => self.no_tool_runs_without_its_yes(what).await,
            Doing::Sessions => self.sessions(what).await,
            Doing::Wait => self.saboteur.hit_within(Duration::from_secs(2)).await,
        }
    }

    /// Does everything once while nothing fails, and notes what sends which statement.
    async fn look(&mut self, of: Of) {
        for doing in of.doings().iter().filter(|doing| **doing != Doing::Wait) {
            self.saboteur.forget();
            self.go(*doing, "while nothing fails").await;
            for statement in self.saboteur.seen() {
                self.sent_by.entry(statement).or_insert(*doing);
            }
        }
    }

    /// What sends the statement while it fails, and that it did; and what holds whatever fails.
    async fn holds_without(&mut self, name: &str, statement: &str, of: Of) {
        let first = self.sent_by.get(statement).copied();
        // Some are sent every few seconds.
        let mut doings: Vec<Doing> = first.into_iter().chain([Doing::Wait]).collect();
        doings.extend(of.doings().iter().filter(|doing| Some(**doing) != first));
        doings.extend([Doing::Wait, Doing::Wait]);
        self.saboteur.breaks_at(Some(statement));
        for doing in doings.iter().cycle().take(3 * doings.len()) {
            self.go(*doing, name).await;
            if self.saboteur.hits() > 0 {
                break;
            }
        }
        assert!(
            self.saboteur.hits() > 0,
            "{name} is sent by nothing here: is it on the path?"
        );
        self.nobody_gets_more(name).await;
        self.saboteur.breaks_at(None);
        for gateway in &self.gateways {
            let caller = self.caller(gateway);
            eventually(&format!("{name}: all is as it was"), PATIENCE, async || {
                let (status, said) =
                    Self::call(Way::Rest, &caller, "files-echo", json!({"message": "x"})).await;
                status == 200
                    && said["content"].is_array()
                    && Way::Bare.tools(&caller, None).await == Ok(Self::own())
            })
            .await;
        }
        assert!(self.dangers() <= self.yes, "{name}");
    }
}

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}}})
}

/// `DELETE` with a body.
async fn delete(http: &HttpClient, path: &str, body: &Value) -> u16 {
    let request = http::Request::builder()
        .method(http::Method::DELETE)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into());
    http.try_send(request.unwrap()).await.unwrap().status.as_u16()
}

/// What is done while a statement fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Change,
    Revoke,
    ChangeAll,
    Limits,
    Yes,
    Sessions,
    Wait,
}

/// What depends on a statement.
#[derive(Clone, Copy)]
enum Of {
    Reads,
    Calls,
    Changes,
}

impl Of {
    fn doings(self) -> &'static [Doing] {
        use Doing::{Change, ChangeAll, Limits, Revoke, Sessions, Wait, Yes};
        match self {
            Self::Reads => &[Change, Revoke, ChangeAll, Sessions, Wait],
            Self::Calls => &[Limits, Yes, Sessions, Wait],
            Self::Changes => &[Change, Revoke, ChangeAll, Wait],
        }
    }
}

/// Each of these in turn; those of `part` of `parts`, so that several go on at the same time.
async fn each(of: Of, (part, parts): (usize, usize)) {
    let names = match of {
        Of::Reads => READS,
        Of::Calls => CALLS,
        Of::Changes => CHANGES,
    };
    let Some(mut world) = World::start().await else {
        return;
    };
    world.look(of).await;
    for name in names.iter().skip(part).step_by(parts) {
        let (_, statement) = trunkline_store::statements()
            .find(|(own, _)| own == name)
            .unwrap();
        world.holds_without(name, statement, of).await;
    }
}

#[test]
fn every_statement_is_on_the_path_or_beside_it() {
    let mut listed: Vec<&str> = [READS, CALLS, CHANGES].concat();
    listed.extend(BESIDE.iter().flat_map(|(_, names)| names.iter()));
    let known: Vec<&str> = trunkline_store::statements().map(|(name, _)| name).collect();
    let missing: Vec<_> = known.iter().filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "in no list: {missing:?}");
    let gone: Vec<_> = listed.iter().filter(|name| !known.contains(name)).collect();
    assert!(gone.is_empty(), "no statement: {gone:?}");
    let once: BTreeSet<_> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "in two lists");
}

#[tokio::test]
async fn s05_what_cannot_be_read_gives_nobody_more_1() {
    each(Of::Reads, (0, 2)).await;
}

#[tokio::test]
async fn s05_what_cannot_be_read_gives_nobody_more_2() {
    each(Of::Reads, (1, 2)).await;
}

#[tokio::test]
async fn s05_what_a_call_cannot_ask_gives_it_nothing_1() {
    each(Of::Calls, (0, 2)).await;
}

#[tokio::test]
async fn s05_what_a_call_cannot_ask_gives_it_nothing_2() {
    each(Of::Calls, (1, 2)).await;
}

#[tokio::test]
async fn s05_what_cannot_be_written_is_not_said_to_be_1() {
    each(Of::Changes, (0, 3)).await;
}

#[tokio::test]
async fn s05_what_cannot_be_written_is_not_said_to_be_2() {
    each(Of::Changes, (1, 3)).await;
}

#[tokio::test]
async fn s05_what_cannot_be_written_is_not_said_to_be_3() {
    each(Of::Changes, (2, 3)).await;
}
