//! The OpenAPI document of the management API and of the REST routes of the data plane. It is committed as
//! `docs/openapi.json`, and a test compares; `TRUNKLINE_UPDATE_OPENAPI=1 cargo test -p trunkline-admin` writes it.
//!
//! The schemas of a server are made from [`crate::fields::FIELDS`], everything else from the wire types.

use std::borrow::Cow;

use trunkline_model::{ApprovalMode, EnvVarScope};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, Ref, Schema, SchemaType, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, KnownFormat, OpenApi, PathItem, RefOr, Response,
    ResponseBuilder, SchemaFormat,
};
use utoipa::{OpenApi as _, PartialSchema, ToSchema};

use crate::actor::AuthErrorBody;
use crate::data_plane::DataPlane;
use crate::fields::{FIELDS, Field, Kind, new_definition};
use crate::outcome::OutcomeBody;
use crate::{credentials, request, row, variables};

/// The document. Deterministic: the same binary gives the same bytes.
pub fn openapi() -> OpenApi {
    let mut document = management();
    document.merge(DataPlane::openapi());
    document.info = InfoBuilder::new()
        .title("Trunkline")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The management API and the REST routes of the MCP gateway, with LiteLLM's names, shapes and status codes.",
        ))
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.add_security_scheme(
        "x-litellm-api-key",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-litellm-api-key"))),
    );
    components
        .schemas
        .insert("AuthErrorBody".to_owned(), AuthErrorBody::schema());
    let mut nested = Vec::new();
    AuthErrorBody::schemas(&mut nested);
    components.schemas.extend(nested);
    for operation in document.paths.paths.values_mut().flat_map(operations_mut) {
        // What says for itself that it needs no key has an empty requirement.
        if operation.security.is_none() {
            operation.security = Some(
                ["bearer", "x-litellm-api-key"]
                    .map(|scheme| SecurityRequirement::new(scheme, [""; 0]))
                    .to_vec(),
            );
            operation
                .responses
                .responses
                .insert("401".to_owned(), RefOr::T(unauthorized()));
        }
    }
    document
}

/// The part that [`crate::router`] serves.
pub(crate) fn management() -> OpenApi {
    crate::routes().into_openapi()
}

/// The operations of a path.
pub(crate) fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

fn unauthorized() -> Response {
    ResponseBuilder::new()
        .description("No key, or a wrong one.")
        .content(
            "application/json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("AuthErrorBody")))
                .build(),
        )
        .build()
}

/// The body of a registration.
pub(crate) struct NewServer;

/// The body of a change.
pub(crate) struct ServerChange;

/// A server in an answer.
pub(crate) struct ServerRow;

/// The body of an import: one of several files of other programs.
pub(crate) struct ServerImport;

impl PartialSchema for NewServer {
    fn schema() -> RefOr<Schema> {
        declaration()
            .property(
                request::SERVER_ID,
                text(true).description(Some("Chosen by the caller, or made up at random. Never changes.")),
            )
            .into()
    }
}

impl ToSchema for NewServer {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("NewMCPServerRequest")
    }
}

impl PartialSchema for ServerChange {
    fn schema() -> RefOr<Schema> {
        declaration()
            .property(request::SERVER_ID, text(false).description(Some("Which server.")))
            .required(request::SERVER_ID)
            .into()
    }
}

impl ToSchema for ServerChange {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("UpdateMCPServerRequest")
    }
}

impl PartialSchema for ServerImport {
    fn schema() -> RefOr<Schema> {
        let servers = |doc| {
            typed(Type::Object, false)
                .additional_properties(Some(AdditionalProperties::FreeForm(true)))
                .description(Some(doc))
        };
        ObjectBuilder::new()
            .property(
                "mcpServers",
                servers("Claude, Cursor, Windsurf, Gemini: servers by name."),
            )
            .property("servers", servers("VS Code: servers by name."))
            .property("context_servers", servers("Zed: servers by name."))
            .property(
                "mcp_servers",
                servers("LiteLLM, Codex: servers by name. Anthropic's API: a list."),
            )
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}

impl ToSchema for ServerImport {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ServerImport")
    }
}

impl PartialSchema for ServerRow {
    fn schema() -> RefOr<Schema> {
        let id = text(false).description(Some("Never changes."));
        let mut row = ObjectBuilder::new()
            .property(request::SERVER_ID, id)
            .required(request::SERVER_ID);
        for field in FIELDS {
            let schema = schema_of(field, Side::Answer);
            row = row.property(field.name, schema).required(field.name);
        }
        for (name, doc) in row::MANAGED {
            row = row.property(name, managed(name, doc)).required(name);
        }
        row.into()
    }
}

impl ToSchema for ServerRow {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("LiteLLM_MCPServerTable")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((OutcomeBody::name().into_owned(), OutcomeBody::schema()));
        OutcomeBody::schemas(schemas);
    }
}

fn declaration() -> ObjectBuilder {
    FIELDS
        .iter()
        .filter(|field| field.is_settable())
        .fold(ObjectBuilder::new(), |object, field| {
            object.property(field.name, schema_of(field, Side::Request))
        })
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// Null is allowed everywhere: it sets the default.
    Request,
    Answer,
}

fn schema_of(field: &Field, side: Side) -> Schema {
    let doc = Some(field.doc);
    let asked = side == Side::Request;
    match &field.kind {
        Kind::Text(_) | Kind::Pem(_) | Kind::Secret(_) => text(true).description(doc).into(),
        Kind::Choice(choice) => {
            let words = (choice.words)();
            let default = field.show(&new_definition());
            let nullable = choice.nullable || asked;
            let null = nullable.then_some(serde_json::Value::Null);
            text(nullable)
                .enum_values(Some(words.into_iter().map(serde_json::Value::from).chain(null)))
                .default((!choice.nullable).then_some(default))
                .description(doc)
                .into()
        }
        Kind::Flag(_, default) => typed(Type::Boolean, asked)
            .default(Some((*default).into()))
            .description(doc)
            .into(),
        Kind::OptionalFlag(_) => typed(Type::Boolean, true).description(doc).into(),
        Kind::Seconds(_) => typed(Type::Number, true)
            .exclusive_minimum(Some(0.0))
            .description(doc)
            .into(),
        Kind::Count(_, least) => typed(Type::Integer, true)
            .minimum(Some(*least))
            .description(doc)
            .into(),
        Kind::Texts(_) => texts(asked).description(doc).into(),
        Kind::OptionalTexts(_) => texts(true).description(doc).into(),
        Kind::TextMap(_) | Kind::SecretMap(_) => typed(Type::Object, asked)
            .additional_properties(Some(text(false)))
            .description(doc)
            .into(),
        Kind::Object(_) | Kind::FileOnly(_) => typed(Type::Object, true)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(doc)
            .into(),
        Kind::Credentials => credentials::members()
            .fold(typed(Type::Object, true), |object, member| match member {
                "scopes" => object.property(member, texts(true)),
                _ => object.property(member, text(true)),
            })
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(doc)
            .into(),
        Kind::Sandbox(_) => ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Object, Type::String, Type::Null]))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(doc)
            .into(),
        Kind::TextsMap(_) => typed(Type::Object, asked)
            .additional_properties(Some(texts(false)))
            .description(doc)
            .into(),
        Kind::ToolArguments => tool_arguments(asked).description(doc).into(),
        Kind::ToolApproval => typed(Type::Object, asked)
            .additional_properties(Some(
                text(false).enum_values(Some(ApprovalMode::ALL.map(ApprovalMode::as_str))),
            ))
            .description(doc)
            .into(),
        Kind::ToolConditions => array(asked).items(tool_condition()).description(doc).into(),
        Kind::Operations => {
            let lists = || {
                ["tags", "paths", "methods", "operations"]
                    .into_iter()
                    .fold(typed(Type::Object, true), |object, list| {
                        object.property(list, texts(true))
                    })
                    .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            };
            typed(Type::Object, true)
                .property("include", lists())
                .property("exclude", lists())
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
                .description(doc)
                .into()
        }
        Kind::Variables => array(asked)
            .items(
                ObjectBuilder::new()
                    .property("name", text(false))
                    .required("name")
                    .property("value", text(false))
                    .property(
                        "scope",
                        text(false).enum_values(Some(variables::SCOPES.map(EnvVarScope::as_str))),
                    )
                    .property("description", text(true))
                    .additional_properties(Some(AdditionalProperties::FreeForm(false))),
            )
            .description(doc)
            .into(),
    }
}

fn tool_arguments(asked: bool) -> ObjectBuilder {
    let rule = ObjectBuilder::new()
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("One of `value`, `value_from`, `default`, `default_from`."));
    typed(Type::Object, asked)
        .additional_properties(Some(ObjectBuilder::new().additional_properties(Some(rule))))
}

fn tool_condition() -> ObjectBuilder {
    ObjectBuilder::new()
        .property("tools", texts(false))
        .required("tools")
        .property("when", text(false))
        .required("when")
        .property("reason", text(true))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

/// The schema of a column that the gateway fills in.
fn managed(name: &str, doc: &str) -> RefOr<Schema> {
    let doc = Some(doc);
    match name {
        "is_config" => typed(Type::Boolean, false).description(doc).into(),
        "teams" | "warnings" => texts(false).description(doc).into(),
        "has_user_credential" | "connected_app_reachable" => {
            typed(Type::Boolean, true).description(doc).into()
        }
        "programs" => array(false)
            .items(typed(Type::Object, false))
            .description(doc)
            .into(),
        "isolation" => typed(Type::Object, true)
            .property("degree", text(false))
            .property("enforced", texts(false))
            .property("missing", texts(false))
            .description(doc)
            .into(),
        "tool_count" => typed(Type::Integer, true).description(doc).into(),
        "approval_status" | "status" => text(false).description(doc).into(),
        "outcome" => Ref::from_schema_name(OutcomeBody::name()).into(),
        _ if name.ends_with("_at") || name == "last_health_check" => text(true)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(doc)
            .into(),
        _ => text(true).description(doc).into(),
    }
}

fn text(nullable: bool) -> ObjectBuilder {
    typed(Type::String, nullable)
}

fn texts(nullable: bool) -> ArrayBuilder {
    array(nullable).items(text(false))
}

fn array(nullable: bool) -> ArrayBuilder {
    if nullable {
        ArrayBuilder::new().schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
    } else {
        ArrayBuilder::new()
    }
}

fn typed(schema_type: Type, nullable: bool) -> ObjectBuilder {
    if nullable {
        ObjectBuilder::new().schema_type(SchemaType::from_iter([schema_type, Type::Null]))
    } else {
        ObjectBuilder::new().schema_type(schema_type)
    }
}
