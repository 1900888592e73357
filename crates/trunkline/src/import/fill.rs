//! What a client would have filled in when it starts a server: `${env:NAME}`, `${input:id}`, names of variables. From this
//! environment, else asked for; what is left is refused by the gateway, by name.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::find::Server;
use crate::clients::{Client, Places};
use crate::terminal;

/// Fills in.
pub(super) fn all(servers: &mut [Server], inputs: &[Value], places: &Places, ask: bool) {
    let mut filler = Filler {
        inputs,
        places,
        ask,
        known: HashMap::new(),
    };
    for server in servers {
        let mut entry = std::mem::take(&mut server.entry);
        if server.client == Client::Codex {
            filler.variables_of_codex(&server.name, &mut entry);
        }
        for value in entry.values_mut() {
            filler.value(&server.name, value);
        }
        server.entry = entry;
    }
}

struct Filler<'a> {
    inputs: &'a [Value],
    places: &'a Places,
    ask: bool,
    /// What was found or asked before; nothing is asked twice.
    known: HashMap<String, Option<String>>,
}

impl Filler<'_> {
    fn value(&mut self, server: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(server, text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(server, item)),
            Value::Object(object) => object.values_mut().for_each(|item| self.value(server, item)),
            _ => {}
        }
    }

    fn text(&mut self, server: &str, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some(end) = rest.find('}') else { break };
            let placeholder = &rest[..=end];
            match self.placeholder(server, &rest[2..end]) {
                Some(value) => out.push_str(&value),
                None => out.push_str(placeholder),
            }
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
        out
    }

    /// The value of what stands between the braces.
    fn placeholder(&mut self, server: &str, inner: &str) -> Option<String> {
        match inner {
            "userHome" => return Some(self.places.home.display().to_string()),
            "workspaceFolder" => return Some(self.places.project.display().to_string()),
            "pathSeparator" | "/" => return Some("/".to_owned()),
            _ => {}
        }
        if let Some(id) = inner.strip_prefix("input:") {
            return self.input(server, id);
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        if !is_variable(name) {
            return None;
        }
        self.variable(server, name, default)
    }

    fn variable(&mut self, server: &str, name: &str, default: Option<&str>) -> Option<String> {
        let set = std::env::var(name).ok().filter(|value| !value.is_empty());
        set.or_else(|| default.map(str::to_owned)).or_else(|| {
            let question =
                format!("{server}: the value of ${name}, which is not set here (empty: leave it):");
            self.asked(&format!("env:{name}"), &question, true)
        })
    }

    fn input(&mut self, server: &str, id: &str) -> Option<String> {
        let input = self.inputs.iter().find(|input| input["id"] == id);
        let described = input
            .and_then(|input| input["description"].as_str())
            .unwrap_or(id);
        let secret = input.is_none_or(|input| input["password"] != false && input["type"] != "pickString");
        let question = format!(
            "{server}: {} (empty: leave it):",
            terminal::one_line(described, 200)
        );
        self.asked(&format!("input:{id}"), &question, secret)
    }

    fn asked(&mut self, key: &str, question: &str, secret: bool) -> Option<String> {
        if !self.ask {
            return None;
        }
        if let Some(known) = self.known.get(key) {
            return known.clone();
        }
        let typed = if secret {
            terminal::ask_secret(question)
        } else {
            terminal::ask(question)
        };
        let typed = typed.filter(|typed| !typed.is_empty());
        self.known.insert(key.to_owned(), typed.clone());
        typed
    }

    /// `bearer_token_env_var` and `env_http_headers` name variables of Codex's environment.
    fn variables_of_codex(&mut self, server: &str, entry: &mut Map<String, Value>) {
        let mut headers = match entry.remove("http_headers") {
            Some(Value::Object(headers)) => headers,
            _ => Map::new(),
        };
        if let Some(Value::String(name)) = entry.get("bearer_token_env_var").cloned()
            && let Some(token) = self.variable(server, &name, None)
        {
            entry.remove("bearer_token_env_var");
            headers.insert("Authorization".to_owned(), format!("Bearer {token}").into());
        }
        if let Some(Value::Object(mut named)) = entry.remove("env_http_headers") {
            named.retain(|header, name| {
                let value = name.as_str().and_then(|name| self.variable(server, name, None));
                match value {
                    Some(value) => {
                        headers.insert(header.clone(), value.into());
                        false
                    }
                    None => true,
                }
            });
            if !named.is_empty() {
                entry.insert("env_http_headers".to_owned(), named.into());
            }
        }
        if !headers.is_empty() {
            entry.insert("http_headers".to_owned(), headers.into());
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
