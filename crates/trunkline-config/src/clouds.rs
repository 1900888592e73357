//! What deployments in AWS's and Google's clouds have beside all others: who signs, where they are.

use trunkline_llm::provider::{Credential, Provider, bedrocks};
use trunkline_model::{Aws, DeploymentParams, Secret};

use crate::checks;
use crate::section::Section;

/// The region if nobody says one: LiteLLM's.
const REGION: &str = "us-west-2";
/// The same of Google's.
const LOCATION: &str = "us-central1";
/// Fields that have an effect for one kind of provider alone.
const AWS: [&str; 5] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region_name",
    "aws_bedrock_runtime_endpoint",
];
const VERTEX: [&str; 3] = ["vertex_project", "vertex_location", "vertex_credentials"];

/// By what LiteLLM asks as somebody else than whose keys are written or in the environment. None of them is served, and to ask with those
/// keys would be to ask as somebody whom the operator did not mean.
const OTHERS: [(Credential, &[&str], &str); 2] = [
    (
        Credential::Aws,
        &[
            "aws_profile_name",
            "aws_role_name",
            "aws_web_identity_token",
            "aws_bedrock_client",
        ],
        "the gateway takes on no role or profile of AWS's: write aws_access_key_id and aws_secret_access_key, with aws_session_token if they are for some time",
    ),
    (
        Credential::GoogleAccount,
        &["vertex_ai_credentials"],
        "write it as vertex_credentials",
    ),
];

/// Whose credentials a deployment is meant to be asked with, where that is nobody's whom the gateway can ask for: the field, and why.
pub(crate) fn somebody_else(section: &Section<'_>, provider: &Provider) -> Option<(&'static str, String)> {
    let (_, names, why) = OTHERS.iter().find(|(own, ..)| *own == provider.credential)?;
    let is_said = |name: &&&str| section.node(name).is_some_and(|node| !node.is_off());
    let name = names.iter().find(is_said)?;
    Some((name, format!("{name} is not served: {why}")))
}

/// What is wrong with credentials of Google's that are written where they are used; of a file that is known when it is read.
pub(crate) fn of_another_kind(params: &DeploymentParams) -> Option<String> {
    trunkline_llm::google::of_another_kind(params.google_credentials.as_ref()?.expose())
}

/// What is said of a cloud.
#[derive(Default)]
pub(crate) struct Clouds {
    /// The address that is written under its own name.
    pub(crate) written_base: Option<String>,
    /// That of where it is.
    pub(crate) api_base: Option<String>,
    pub(crate) aws: Option<Aws>,
    pub(crate) google_credentials: Option<Secret>,
    pub(crate) vertex_project: Option<String>,
    pub(crate) vertex_location: Option<String>,
}

/// Reads the fields. `first` is the first of some variables that is set.
pub(crate) fn read(
    section: &mut Section<'_>,
    (provider, name): (&Provider, &str),
    first: &dyn Fn(&[&str]) -> Option<String>,
) -> Clouds {
    for (own, names) in [
        (Credential::Aws, &AWS[..]),
        (Credential::GoogleAccount, &VERTEX[..]),
    ] {
        for name in names.iter().filter(|_| provider.credential != own) {
            if section.node(name).is_some_and(|node| !node.is_absent()) {
                let text = format!("has no effect: {} knows nothing of it.", provider.prefix);
                section.warn(name, text);
            }
        }
    }
    match provider.credential {
        Credential::Aws => aws(section, name, first),
        Credential::GoogleAccount => vertex(section, first),
        _ => Clouds::default(),
    }
}

fn aws(section: &mut Section<'_>, name: &str, first: &dyn Fn(&[&str]) -> Option<String>) -> Clouds {
    let (named, _) = bedrocks(name);
    let region = section
        .text("aws_region_name")
        .or_else(|| named.map(str::to_owned))
        .or_else(|| first(&["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"]))
        .unwrap_or_else(|| REGION.to_owned());
    check_place(section, "aws_region_name", &region);
    let id = section.secret("aws_access_key_id");
    let secret = section.secret("aws_secret_access_key");
    let mut session = section.secret("aws_session_token");
    let is_written = id.is_some() || secret.is_some();
    // A token is that of one key: one of the environment goes with the key from there.
    let of_environment = |name: &str| first(&[name]).map(Secret::new);
    let (id, secret) = if is_written {
        (id, secret)
    } else {
        session = session.or_else(|| of_environment("AWS_SESSION_TOKEN"));
        (
            of_environment("AWS_ACCESS_KEY_ID"),
            of_environment("AWS_SECRET_ACCESS_KEY"),
        )
    };
    for (name, value) in [("aws_access_key_id", &id), ("aws_session_token", &session)] {
        if let Some(Err(reason)) = value.as_ref().map(|own| checks::header_value(own.expose())) {
            section.error(name, reason);
        }
    }
    // Who has a token is not asked for a signature.
    let has_token = section.secret("api_key").is_some()
        || (!is_written && first(&["AWS_BEARER_TOKEN_BEDROCK"]).is_some());
    let aws = match (id, secret) {
        (Some(access_key_id), Some(secret_access_key)) if !has_token => Some(Aws {
            access_key_id,
            secret_access_key,
            session_token: session,
            region: region.clone(),
        }),
        _ => None,
    };
    Clouds {
        written_base: section.text("aws_bedrock_runtime_endpoint"),
        api_base: Some(format!("https://bedrock-runtime.{region}.amazonaws.com")),
        aws,
        ..Clouds::default()
    }
}

fn vertex(section: &mut Section<'_>, first: &dyn Fn(&[&str]) -> Option<String>) -> Clouds {
    let location = section
        .text("vertex_location")
        .or_else(|| first(&["VERTEXAI_LOCATION", "VERTEX_LOCATION"]))
        .unwrap_or_else(|| LOCATION.to_owned());
    check_place(section, "vertex_location", &location);
    let credentials = section
        .secret("vertex_credentials")
        .or_else(|| first(&["VERTEXAI_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"]).map(Secret::new));
    let project = section
        .text("vertex_project")
        .or_else(|| first(&["VERTEXAI_PROJECT", "VERTEX_PROJECT"]))
        .or_else(|| {
            let file: serde_json::Value = serde_json::from_str(credentials.as_ref()?.expose()).ok()?;
            file["project_id"].as_str().map(str::to_owned)
        });
    let host = if location == "global" {
        String::new()
    } else {
        format!("{location}-")
    };
    Clouds {
        api_base: Some(format!("https://{host}aiplatform.googleapis.com")),
        google_credentials: credentials,
        vertex_project: project,
        vertex_location: Some(location),
        ..Clouds::default()
    }
}

/// It becomes a part of the name of a host.
fn check_place(section: &mut Section<'_>, name: &str, place: &str) {
    let is_plain = |own: u8| own.is_ascii_lowercase() || own.is_ascii_digit() || own == b'-';
    if place.is_empty() || place.len() > 40 || !place.bytes().all(is_plain) {
        section.error(name, "must be letters, digits and dashes, as us-east-1");
    }
}

/// What a deployment of a cloud cannot do without.
pub(crate) fn missing(provider: &Provider, params: &DeploymentParams) -> Option<String> {
    match provider.credential {
        Credential::Aws if params.aws.is_none() && params.api_key.is_none() => Some(
            "it has no aws_access_key_id with an aws_secret_access_key, and neither AWS_ACCESS_KEY_ID nor AWS_BEARER_TOKEN_BEDROCK is set"
                .to_owned(),
        ),
        Credential::GoogleAccount if params.google_credentials.is_none() => Some(
            "it has no vertex_credentials, and neither VERTEXAI_CREDENTIALS nor GOOGLE_APPLICATION_CREDENTIALS is set"
                .to_owned(),
        ),
        Credential::GoogleAccount if params.vertex_project.is_none() => {
            Some("it has no vertex_project, and VERTEXAI_PROJECT is not set".to_owned())
        }
        _ => None,
    }
}
