//! What an answer of a server is through a gateway that has other servers beside it: names under the server's prefix, URIs
//! under it where another server could be meant, and all else as it was.
//!
//! Where the two sides are of two eras, what the gateway adds is left out of the comparison: `resultType`, `ttlMs`,
//! `cacheScope` and the server's `serverInfo` of 2026-07-28. That revision has no `execution` of tools.

use serde_json::{Value, json};

use crate::reports::{Answer, Report};
use crate::servers::Step;

const LISTS: [(&str, &str); 4] = [
    ("tools", "name"),
    ("prompts", "name"),
    ("resources", "uri"),
    ("resourceTemplates", "uriTemplate"),
];
const RESOURCES: usize = 2;
const TEMPLATES: usize = 3;
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The servers of an endpoint, as a client saw each of them directly.
pub(crate) struct Scope<'r> {
    reports: &'r [Report],
}

impl<'r> Scope<'r> {
    pub(crate) fn of(reports: &'r [Report]) -> Self {
        Self { reports }
    }

    /// Whether a server lists this URI, or template.
    fn lists(report: &Report, list: usize, uri: &str) -> bool {
        let (member, key) = LISTS[list];
        items(report, list, member).iter().any(|item| item[key] == uri)
    }

    /// A URI, or template, of the server's list as the gateway lists it.
    fn listed(&self, server: &str, list: usize, uri: &str) -> String {
        let others = self.reports.iter().filter(|report| report.name != server);
        let shared = others.into_iter().any(|other| Self::lists(other, list, uri));
        qualified(shared, server, uri)
    }

    /// A URI in a result: bare where this server lists it and no other.
    fn linked(&self, server: &str, uri: &str) -> String {
        let lists = |own: bool| {
            let reports = self.reports.iter();
            let mut reports = reports.filter(move |report| (report.name == server) == own);
            reports.any(|report| Self::lists(report, RESOURCES, uri))
        };
        qualified(!lists(true) || lists(false), server, uri)
    }

    /// A URI as a client reads it: one of the list as it is listed, one of a template as the template is.
    fn read(&self, server: &str, uri: &str) -> String {
        let report = self.reports.iter().find(|report| report.name == server).unwrap();
        if Self::lists(report, RESOURCES, uri) {
            return self.listed(server, RESOURCES, uri);
        }
        let (member, key) = LISTS[TEMPLATES];
        let template = items(report, TEMPLATES, member)
            .iter()
            .filter_map(|item| item[key].as_str())
            .find(|template| uri.starts_with(template.split('{').next().unwrap_or_default()));
        let template = template.unwrap_or_else(|| panic!("{server} has no {uri}"));
        qualified(self.listed(server, TEMPLATES, template) != template, server, uri)
    }

    /// A step of a server as it is done through the gateway.
    pub(crate) fn step(&self, server: &str, step: &Step) -> Step {
        let mut step = step.clone();
        let named = |name: &Value| json!(format!("{server}-{}", name.as_str().unwrap()));
        let what = &mut step.what;
        match what["do"].as_str().unwrap() {
            "call" | "prompt" => what["name"] = named(&what["name"]),
            "read" => what["uri"] = json!(self.read(server, what["uri"].as_str().unwrap())),
            "complete" if what["ref"]["type"] == "ref/prompt" => {
                what["ref"]["name"] = named(&what["ref"]["name"]);
            }
            "complete" => {
                let uri = self.listed(server, TEMPLATES, what["ref"]["uri"].as_str().unwrap());
                what["ref"]["uri"] = json!(uri);
            }
            other => panic!("no step of a server: {other}"),
        }
        step
    }

    /// A list of the gateway: those of the servers, one after the other.
    pub(crate) fn list(&self, list: usize, through: &Report) -> Value {
        let (member, key) = LISTS[list];
        let mut all = Vec::new();
        for report in self.reports {
            for item in items(report, list, member) {
                let mut item = item.clone();
                let own = item[key].as_str().unwrap().to_owned();
                item[key] = if key == "name" {
                    json!(format!("{}-{own}", report.name))
                } else {
                    json!(self.listed(&report.name, list, &own))
                };
                if through.is_modern() {
                    item.as_object_mut().unwrap().remove("execution");
                }
                all.push(item);
            }
        }
        json!({"result": {member: all}})
    }

    /// What is to be seen through the gateway, from what was seen without it.
    pub(crate) fn answer(&self, step: &Step, direct: &Report, before: &Answer) -> Value {
        let mut answer = before.clone();
        let server = &direct.name;
        let link = |uri: &mut Value| *uri = json!(self.linked(server, uri.as_str().unwrap()));
        let block = |block: &mut Value| match block["type"].as_str() {
            Some("resource_link") => link(&mut block["uri"]),
            Some("resource") => link(&mut block["resource"]["uri"]),
            _ => {}
        };
        let result = &mut answer.result["result"];
        match step.what["do"].as_str().unwrap() {
            "call" => list_of(result, "content").for_each(block),
            "prompt" => list_of(result, "messages").for_each(|message| block(&mut message["content"])),
            "read" => {
                let own = step.what["uri"].as_str().unwrap();
                let asked = self.read(server, own);
                for contents in list_of(result, "contents") {
                    let uri = contents["uri"].as_str().unwrap().to_owned();
                    contents["uri"] = json!(qualified(asked != own, server, &uri));
                }
            }
            _ => {}
        }
        comparable(step, answer)
    }
}

/// What was seen, without what it has because the server is of another era.
pub(crate) fn seen(step: &Step, direct: &Report, through: &Report, seen: &Answer) -> Value {
    let mut answer = seen.clone();
    if through.is_modern()
        && !direct.is_modern()
        && let Some(result) = answer.result["result"].as_object_mut()
    {
        for key in ["resultType", "ttlMs", "cacheScope"] {
            result.remove(key);
        }
        if let Some(meta) = result.get_mut("_meta").and_then(Value::as_object_mut) {
            meta.remove(SERVER_INFO);
            if meta.is_empty() {
                result.remove("_meta");
            }
        }
    }
    comparable(step, answer)
}

fn items<'r>(report: &'r Report, list: usize, member: &str) -> &'r [Value] {
    report.answers[list].result["result"][member]
        .as_array()
        .map_or_else(
            || panic!("{}: no {member}: {:?}", report.name, report.answers[list]),
            Vec::as_slice,
        )
}

fn list_of<'v>(result: &'v mut Value, member: &str) -> impl Iterator<Item = &'v mut Value> {
    result
        .get_mut(member)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn qualified(under_prefix: bool, server: &str, uri: &str) -> String {
    if under_prefix {
        format!("{server}+{uri}")
    } else {
        uri.to_owned()
    }
}

/// An answer as JSON, without what is another text each time.
fn comparable(step: &Step, mut answer: Answer) -> Value {
    let result = &mut answer.result["result"];
    if step.varies {
        for block in list_of(result, "content") {
            block["text"] = json!("");
        }
        result["structuredContent"] = json!({});
    }
    let mut all = answer.result;
    all["log"] = answer.log.into();
    all["progress"] = answer.progress.into();
    all
}

/// Where two values are not equal, in words: the first place.
pub(crate) fn difference(place: &str, expected: &Value, seen: &Value) -> Option<String> {
    match (expected, seen) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let place = format!("{place}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => difference(&place, a, b),
                    (a, b) => Some(format!("{place}: {b:?} instead of {a:?}")),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| difference(&format!("{place}[{index}]"), a, b))
        }
        (Value::Array(a), Value::Array(b)) => {
            let only = |these: &[Value], those: &[Value]| {
                let only: Vec<String> = these
                    .iter()
                    .filter(|one| !those.contains(one))
                    .map(Value::to_string)
                    .collect();
                only.join(", ")
            };
            let (missing, more) = (only(a, b), only(b, a));
            Some(format!(
                "{place}: {} instead of {}; missing: {missing}; more: {more}",
                b.len(),
                a.len()
            ))
        }
        (a, b) => (a != b).then(|| format!("{place}: {b} instead of {a}")),
    }
}
