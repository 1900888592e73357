//! The shapes of the key routes, for the document: made from [`super::fields::SERVED`].

use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, SchemaType, Type};

use super::fields::{KEY_TYPES, SERVED, TEAM_FIELDS};
use super::limits::{BY_NAME, NAMES};

/// Declares types that only say a schema.
macro_rules! shapes {
    ($( $(#[$doc:meta])* $name:ident as $shown:literal = $schema:expr; )+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $schema.into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($shown)
            }
        }
    )+};
}
pub(crate) use shapes;

shapes! {
    /// The body that makes a key.
    NewKey as "GenerateKeyRequest" = closed(served(object()).property("key", text("A key of one's own choice.")));
    /// The body that makes a service's.
    NewServiceAccount as "GenerateServiceAccountKeyRequest" = closed(
        served(object()).required("team_id").property("key", text("A key of one's own choice."))
    );
    /// The body that changes many.
    KeyChanges as "BulkUpdateKeyRequest" = closed(object().property("keys", ArrayBuilder::new().items(change()).max_items(Some(500))).required("keys"));
    /// The body that changes one.
    KeyChange as "UpdateKeyRequest" = change();
    /// The body that gives it another secret.
    KeyRegenerated as "RegenerateKeyRequest" = closed(
        served(object())
            .property("key", text("Which key: its hash, or itself."))
            .property("new_key", text("A key of one's own choice."))
            .property("grace_period", text("How long the secret before is good beside the new one, 90 days at most: `30m`, `24h`, `2d`."))
    );
    /// The body that names one.
    KeyNamed as "BlockKeyRequest" = closed(object().property("key", text("Which key: its hash, or itself.")).required("key"));
    /// The body that names several.
    KeysNamed as "KeyRequest" = closed(
        object()
            .property("keys", texts("Hashes, or keys."))
            .property("key_aliases", texts("Aliases; one of both lists has to be there."))
    );
    /// The body that says what a key has spent.
    KeySpendReset as "ResetSpendRequest" = closed(
        object()
            .property("reset_to", typed(Type::Number).minimum(Some(0)).description(Some("What it is to have spent, in dollars: no more than it has.")))
            .required("reset_to")
    );
    /// What it had spent, and has.
    KeySpendSaid as "ResetSpendResponse" = object()
        .property("key_hash", text("The hash."))
        .property("spend", dollars("What it has spent from now on."))
        .property("previous_spend", dollars("What it had spent."))
        .property("max_budget", dollars("What it may spend."))
        .property("budget_reset_at", text("When it counts from nothing again, RFC 3339."));
    /// The body that changes many keys of a team in one way.
    TeamKeysChange as "BulkUpdateTeamKeysRequest" = closed(
        object()
            .property("team_id", text("Whose keys."))
            .required("team_id")
            .property("key_ids", texts("Which of them, 500 at most: hashes, or keys."))
            .property("all_keys_in_team", nullable(Type::Boolean).description(Some("Instead: all that are neither blocked nor expired, 500 at most.")))
            .property("update_fields", team_fields(object()).description(Some("What each is to have from now on; one field at least.")))
            .required("update_fields")
    );
    /// A key in an answer.
    KeyRow as "LiteLLM_VerificationToken" = row();
    /// The answer that has the key itself.
    KeyMade as "GenerateKeyResponse" = row()
        .property("key", text("The key: here and nowhere else."))
        .required("key")
        .property("token_id", text("The hash once more."));
    /// The answer of `/key/info`.
    KeyInfo as "KeyInfoResponse" = object()
        .property("key", text("The hash."))
        .property("info", object().description(Some("The row without its hash.")));
    /// The answer of `/v2/key/info`.
    KeyInfos as "KeyInfosResponse" = object()
        .property("key", texts("The hashes."))
        .property("info", ArrayBuilder::new().items(open()).description(Some("The rows without their hashes, in the same order.")));
    /// The answer of `/key/health`.
    KeyHealth as "KeyHealthResponse" = object().property("key", text("`healthy`."));
    /// A page of keys.
    KeyList as "KeyListResponseObject" = object()
        .property("keys", ArrayBuilder::new().items(open()).description(Some("Hashes, or rows.")))
        .property("total_count", typed(Type::Integer))
        .property("current_page", typed(Type::Integer))
        .property("total_pages", typed(Type::Integer));
    /// A page of aliases.
    KeyAliases as "KeyAliasesResponse" = object()
        .property("aliases", texts("In their order."))
        .property("total_count", typed(Type::Integer))
        .property("current_page", typed(Type::Integer))
        .property("total_pages", typed(Type::Integer))
        .property("size", typed(Type::Integer));
    /// What became of many changes.
    KeyChangesDone as "BulkUpdateKeyResponse" = object()
        .property("total_requested", typed(Type::Integer))
        .property("successful_updates", ArrayBuilder::new().items(changed()))
        .property("failed_updates", ArrayBuilder::new().items(changed().property("failed_reason", text("Why it is as it was."))));
}

fn change() -> ObjectBuilder {
    closed(served(object()).property("key", text("Which key: its hash, or itself.")))
}

fn changed() -> ObjectBuilder {
    object().property("key", text("The hash.")).property(
        "key_info",
        nullable(Type::Object).description(Some("The key as it is now.")),
    )
}

pub(crate) fn object() -> ObjectBuilder {
    ObjectBuilder::new()
}

pub(crate) fn open() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}

pub(crate) fn typed(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

pub(crate) fn nullable(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]))
}

pub(crate) fn closed(object: ObjectBuilder) -> ObjectBuilder {
    object.additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

pub(crate) fn text(doc: &str) -> ObjectBuilder {
    nullable(Type::String).description(Some(doc))
}

pub(crate) fn texts(doc: &str) -> ArrayBuilder {
    ArrayBuilder::new()
        .items(typed(Type::String))
        .description(Some(doc))
}

/// What may be said of many keys of a team at once.
fn team_fields(object: ObjectBuilder) -> ObjectBuilder {
    closed(with_fields(object, |name| TEAM_FIELDS.contains(&name)))
}

/// The fields that a body may have.
fn served(object: ObjectBuilder) -> ObjectBuilder {
    with_fields(object, |_| true)
}

fn with_fields(object: ObjectBuilder, is_in: impl Fn(&str) -> bool) -> ObjectBuilder {
    let fields = SERVED.iter().filter(|(name, _)| is_in(name));
    fields.fold(object, |object, (name, doc)| match *name {
        "metadata" => object.property(*name, nullable(Type::Object).description(Some(*doc))),
        "blocked" => object.property(*name, nullable(Type::Boolean).description(Some(*doc))),
        "allowed_routes" | "models" => object.property(*name, texts(doc)),
        "key_type" => object.property(*name, text(doc).enum_values(Some(KEY_TYPES))),
        "object_permission" => object.property(*name, permission(doc)),
        _ if NAMES.contains(name) => limit(object, name, doc),
        "max_budget" | "soft_budget" => object.property(*name, dollars(doc)),
        "model_max_budget" => object.property(*name, model_budgets(doc)),
        _ => object.property(*name, text(doc)),
    })
}

pub(crate) fn dollars(doc: &str) -> ObjectBuilder {
    nullable(Type::Number).minimum(Some(0)).description(Some(doc))
}

/// What may be spent on single models.
pub(crate) fn model_budgets(doc: &str) -> ObjectBuilder {
    let each = typed(Type::Object)
        .property("max_budget", dollars("At most."))
        .property(
            "budget_duration",
            text("After how long what is spent counts from nothing again; for ever without."),
        );
    nullable(Type::Object)
        .additional_properties(Some(each))
        .description(Some(doc))
}

/// A limit of calls, or of tokens.
pub(crate) fn limit(object: ObjectBuilder, name: &str, doc: &str) -> ObjectBuilder {
    let number = nullable(Type::Integer).minimum(Some(0));
    match name {
        _ if BY_NAME.contains(&name) => {
            let each = typed(Type::Integer).minimum(Some(0));
            let numbers = nullable(Type::Object).additional_properties(Some(each));
            object.property(name, numbers.description(Some(doc)))
        }
        _ => object.property(name, number.description(Some(doc))),
    }
}

pub(crate) fn permission(doc: &str) -> ObjectBuilder {
    nullable(Type::Object)
        .description(Some(doc))
        .property(
            "mcp_servers",
            texts("Servers, each by id, name or alias; `no-mcp-servers`: none at all."),
        )
        .property("mcp_access_groups", texts("Every server of these groups."))
        .property(
            "mcp_toolsets",
            texts("Toolsets, each by id or name: their tools, and nothing else of their servers."),
        )
        .property(
            "mcp_tool_permissions",
            typed(Type::Object)
                .additional_properties(Some(texts("Tools; `*`: all.")))
                .description(Some(
                    "The only tools of a server that may be used. It narrows a grant, and gives none.",
                )),
        )
}

fn row() -> ObjectBuilder {
    served(object())
        .property("token", text("The key's hash."))
        .property(
            "spend",
            dollars("What it has spent since `budget_duration` was over the last time."),
        )
        .property("total_spend", dollars("What it has spent ever."))
        .property("key_name", text("`sk-...abcd`"))
        .property("expires", text("RFC 3339."))
        .property("status", text("`active`, `blocked`, `expired` or `unreadable`."))
        .property("created_at", text("RFC 3339."))
        .property("created_by", text("By whom."))
        .property("updated_at", text("RFC 3339."))
        .property("updated_by", text("By whom."))
        .property("rotation_count", typed(Type::Integer))
        .property("last_rotation_at", text("RFC 3339."))
        .property(
            "previous_secrets",
            ArrayBuilder::new()
                .items(
                    object()
                        .property("token", text("The hash."))
                        .property("until", text("RFC 3339.")),
                )
                .description(Some("Secrets that it had before, and that are good until then.")),
        )
        .property(
            "delegation",
            nullable(Type::Object)
                .description(Some("What of it is no administrator's; null for what is."))
                .property("by", text("The user that has seen its secret, if no administrator made it or gave it another."))
                .property("is_whole", typed(Type::Boolean).description(Some("Whether no administrator has written it since a user made it.")))
                .property("words", texts("Of `key_alias` and `metadata`, what a user has written. Rules about calls do not see it.")),
        )
        .property(
            "defect",
            text("What of its row cannot be read; such a key is refused."),
        )
}
