//! What this binary needs to find in the database: every table and column that its statements name.
//!
//! The migrations make it; [`crate::Store::verify`] compares it with the live database, and [`crate::Store::repair`]
//! adds what is missing. A test holds the three together: a migrated database has exactly these columns.

/// Which of the two databases a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// The classes of types that both databases have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Boolean,
    Double,
    /// A number that the database counts up.
    Identity,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Part of the primary key.
    pub(crate) key: bool,
    /// `NOT NULL DEFAULT` this literal, which both databases understand. Columns without one may be NULL, so that
    /// a binary that does not know the column can go on inserting.
    pub(crate) default: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
    /// Names of the column, not of the index, which is `{table}_{column}`.
    pub(crate) indexed: &'static [&'static str],
}

/// Triggers, each with its table: what keeps rows that nothing may change, and rules that older versions do not know.
pub(crate) fn triggers(dialect: Dialect) -> &'static [(&'static str, &'static str)] {
    match dialect {
        Dialect::Sqlite => &[
            ("audit_log", "audit_log_replace"),
            ("audit_log", "audit_log_update"),
            ("audit_log", "audit_log_delete"),
            ("mcp_server", "mcp_server_rules_insert"),
            ("mcp_server", "mcp_server_rules_update"),
        ],
        Dialect::Postgres => &[
            ("audit_log", "audit_log_update"),
            ("audit_log", "audit_log_delete"),
            ("audit_log", "audit_log_truncate"),
            ("mcp_server", "mcp_server_rules"),
        ],
    }
}

/// Every table.
pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "mcp_server",
        columns: &[
            text("server_id").key(),
            text("server_name"),
            text("alias"),
            text("description"),
            text("instructions"),
            text("url"),
            text("spec_path"),
            text("transport").or("'sse'"),
            text("auth_type"),
            text("credentials"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            text("mcp_info"),
            text("mcp_access_groups").or("'[]'"),
            text("allowed_tools"),
            text("tool_name_to_display_name").or("'{}'"),
            text("tool_name_to_description").or("'{}'"),
            text("pinned_tools"),
            text("extra_headers").or("'[]'"),
            text("static_headers"),
            text("env_vars"),
            text("status").or("'unknown'"),
            int("last_health_check"),
            text("health_check_error"),
            text("command"),
            text("args").or("'[]'"),
            text("env"),
            text("issuer"),
            text("authorization_url"),
            text("token_url"),
            text("registration_url"),
            text("oauth2_flow"),
            text("token_exchange_endpoint"),
            text("audience"),
            text("subject_token_type"),
            text("token_exchange_profile"),
            boolean("allow_all_keys").or("FALSE"),
            boolean("available_on_public_internet").or("TRUE"),
            boolean("delegate_auth_to_upstream").or("FALSE"),
            boolean("oauth_passthrough").or("FALSE"),
            boolean("dcr_bridge"),
            boolean("per_server_oauth_discovery").or("FALSE"),
            boolean("is_byok").or("FALSE"),
            text("byok_description").or("'[]'"),
            text("byok_api_key_help_url"),
            text("source_url"),
            double("timeout"),
            int("max_concurrent_requests"),
            int("rpm"),
            text("approval_status").or("'active'"),
            text("submitted_by"),
            int("submitted_at"),
            int("reviewed_at"),
            text("review_notes"),
            text("disallowed_tools").or("'[]'"),
            text("allowed_params").or("'{}'"),
            text("prefix").or("'always'"),
            text("session").or("'auto'"),
            text("protocol_version"),
            boolean("schema_compat").or("FALSE"),
            text("cwd"),
            text("sandbox"),
            text("spec"),
            text("openapi"),
            text("tls_ca"),
            text("tls_client_cert"),
            text("tls_client_key"),
            text("tls_server_name"),
            text("tls_min_version"),
            double("connect_timeout"),
            double("list_timeout"),
            text("tool_arguments"),
            text("tool_conditions"),
            text("tool_approval"),
            boolean("approval_by_user").or("FALSE"),
            text("reviewed_by"),
        ],
        indexed: &["approval_status"],
    },
    Table {
        name: "mcp_catalogue",
        columns: &[
            text("server_id").key(),
            int("fetched_at").or("0"),
            text("definition_digest").or("''"),
            text("protocol_version"),
            text("server_info"),
            text("instructions"),
            text("tools").or("'[]'"),
            text("capabilities"),
        ],
        indexed: &[],
    },
    Table {
        name: "registry_revision",
        columns: &[int("id").key(), int("revision").or("0")],
        indexed: &[],
    },
    Table {
        name: "call_record",
        columns: &[
            identity("id"),
            text("request_id").or("''"),
            int("started_at").or("0"),
            int("duration_us").or("0"),
            text("kind").or("''"),
            text("principal").or("''"),
            text("session"),
            text("server_id"),
            text("tool"),
            text("outcome").or("''"),
            text("error"),
            int("request_bytes").or("0"),
            int("response_bytes").or("0"),
            text("api_key"),
            text("user_id"),
            text("team_id"),
            text("organization_id"),
            text("end_user"),
            text("provider"),
            text("model"),
            text("api_base"),
            int("input_tokens"),
            int("output_tokens"),
            int("cache_read_tokens"),
            int("cache_write_tokens"),
            int("reasoning_tokens"),
            boolean("is_estimated"),
            int("cost"),
            text("tags"),
            text("client_ip"),
        ],
        indexed: &["started_at", "request_id"],
    },
    Table {
        name: "spend",
        columns: &[
            text("kind").key(),
            text("id").key(),
            int("spend").or("0"),
            int("total_spend").or("0"),
            int("period_at").or("0"),
            int("updated_at").or("0"),
            text("moved_to"),
        ],
        indexed: &["updated_at"],
    },
    Table {
        name: "spend_model",
        columns: &[
            text("kind").key(),
            text("id").key(),
            text("model").key(),
            int("spend").or("0"),
            int("total_spend").or("0"),
            int("period_at").or("0"),
            int("updated_at").or("0"),
        ],
        indexed: &["updated_at"],
    },
    Table {
        name: "spend_tag",
        columns: &[int("day").key(), text("api_key").key(), text("tag").key()],
        indexed: &[],
    },
    Table {
        name: "spend_daily",
        columns: &[
            int("day").key(),
            text("tag").key(),
            text("api_key").key(),
            text("user_id").key(),
            text("team_id").key(),
            text("organization_id").key(),
            text("end_user").key(),
            text("provider").key(),
            text("model").key(),
            text("model_group").key(),
            text("tool").key(),
            text("kind").key(),
            int("spend").or("0"),
            int("input_tokens").or("0"),
            int("output_tokens").or("0"),
            int("cache_read_tokens").or("0"),
            int("cache_write_tokens").or("0"),
            int("requests").or("0"),
            int("succeeded").or("0"),
            int("failed").or("0"),
            int("unpriced").or("0"),
            int("duration_ms").or("0"),
        ],
        indexed: &[],
    },
    Table {
        name: "spend_batch",
        columns: &[text("batch_id").key(), int("written_at").or("0")],
        indexed: &["written_at"],
    },
    Table {
        name: "session_ended",
        columns: &[
            text("session_key").key(),
            int("expires_at").or("0"),
            int("ended_at").or("0"),
        ],
        indexed: &["expires_at", "ended_at"],
    },
    Table {
        name: "session_upstream",
        columns: &[
            text("session_key").key(),
            text("server_id").key(),
            text("credential").key(),
            int("declared").key(),
            text("definition").or("''"),
            text("upstream_session").or("''"),
            text("upstream_digest").or("''"),
            text("revision").or("''"),
            int("opened_at").or("0"),
            int("last_used_at").or("0"),
        ],
        indexed: &["opened_at", "last_used_at"],
    },
    Table {
        name: "session_state",
        columns: &[
            text("session_key").key(),
            text("log_level"),
            text("subscriptions").or("'[]'"),
            text("listener"),
            int("listened_until").or("0"),
            int("updated_at").or("0"),
            int("expires_at").or("0"),
        ],
        indexed: &["updated_at", "expires_at"],
    },
    Table {
        name: "replica",
        columns: &[
            text("id").key(),
            text("address"),
            text("proof"),
            int("started_at").or("0"),
            int("seen_at").or("0"),
        ],
        indexed: &[],
    },
    Table {
        name: "verification_token",
        columns: &[
            text("token").key(),
            text("key_name"),
            text("key_alias"),
            text("key_type"),
            text("user_id"),
            text("team_id"),
            text("metadata").or("'{}'"),
            int("expires"),
            boolean("blocked"),
            text("allowed_routes").or("'[]'"),
            text("object_permission"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            int("rotation_count"),
            int("last_rotation_at"),
            int("rpm_limit"),
            int("max_parallel_requests"),
            text("mcp_rpm_limit"),
            int("tpm_limit"),
            text("model_rpm_limit"),
            text("model_tpm_limit"),
            text("budget_id"),
            text("previous_tokens"),
            text("delegation"),
            int("delegated_revision"),
            int("max_budget"),
            int("soft_budget"),
            text("budget_duration"),
            int("budget_reset_at"),
            text("model_max_budget"),
            int("revision").or("0"),
        ],
        indexed: &["key_alias", "revision"],
    },
    Table {
        name: "team_table",
        columns: &[
            text("team_id").key(),
            text("team_alias"),
            text("organization_id"),
            text("members_with_roles").or("'[]'"),
            boolean("blocked"),
            text("metadata").or("'{}'"),
            text("object_permission"),
            int("rpm_limit"),
            int("max_parallel_requests"),
            text("mcp_rpm_limit"),
            int("tpm_limit"),
            text("model_rpm_limit"),
            text("model_tpm_limit"),
            text("team_member_permissions"),
            int("max_budget"),
            int("soft_budget"),
            text("budget_duration"),
            int("budget_reset_at"),
            text("model_max_budget"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            int("revision").or("0"),
        ],
        indexed: &["revision"],
    },
    Table {
        name: "user_table",
        columns: &[
            text("user_id").key(),
            text("user_email"),
            text("user_alias"),
            text("user_role"),
            text("metadata").or("'{}'"),
            text("object_permission"),
            int("rpm_limit"),
            int("max_parallel_requests"),
            int("tpm_limit"),
            int("max_budget"),
            int("soft_budget"),
            text("budget_duration"),
            int("budget_reset_at"),
            text("model_max_budget"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            int("revision").or("0"),
        ],
        indexed: &["revision"],
    },
    Table {
        name: "organization_table",
        columns: &[
            text("organization_id").key(),
            text("organization_alias"),
            text("members").or("'[]'"),
            text("metadata").or("'{}'"),
            text("object_permission"),
            text("budget_id"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            int("revision").or("0"),
        ],
        indexed: &["revision"],
    },
    Table {
        name: "end_user_table",
        columns: &[
            text("user_id").key(),
            text("alias"),
            boolean("blocked"),
            text("object_permission"),
            text("budget_id"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            int("revision").or("0"),
        ],
        indexed: &["revision"],
    },
    Table {
        name: "budget_table",
        columns: &[
            text("budget_id").key(),
            int("max_budget"),
            int("soft_budget"),
            int("max_parallel_requests"),
            int("tpm_limit"),
            int("rpm_limit"),
            int("tpd_limit"),
            text("model_max_budget").or("'{}'"),
            text("budget_duration"),
            int("budget_reset_at"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
            int("revision").or("0"),
        ],
        indexed: &["revision"],
    },
    Table {
        name: "mcp_toolset",
        columns: &[
            text("toolset_id").key(),
            text("toolset_name"),
            text("description"),
            text("tools").or("'[]'"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
        ],
        indexed: &["toolset_name"],
    },
    Table {
        name: "proxy_model",
        columns: &[
            text("model_id").key(),
            text("model_name"),
            text("litellm_params"),
            text("model_info").or("'{}'"),
            boolean("blocked").or("FALSE"),
            int("created_at"),
            text("created_by"),
            int("updated_at"),
            text("updated_by"),
        ],
        indexed: &["model_name"],
    },
    Table {
        name: "audit_log",
        columns: &[
            int("seq").key(),
            int("updated_at"),
            text("changed_by").or("''"),
            text("changed_by_api_key").or("''"),
            text("action").or("''"),
            text("table_name").or("''"),
            text("object_id").or("''"),
            text("before_value"),
            text("updated_values"),
            text("request_id"),
            text("details"),
        ],
        indexed: &["updated_at", "object_id", "request_id"],
    },
    Table {
        name: "audit_retention",
        columns: &[int("id").key(), int("before_at"), int("looked_at")],
        indexed: &[],
    },
    Table {
        name: "call_approval",
        columns: &[
            text("approval_id").key(),
            text("server_id").or("''"),
            text("tool").or("''"),
            text("principal").or("''"),
            text("mode").or("'always'"),
            text("binding").or("''"),
            text("arguments"),
            text("state").or("'pending'"),
            int("created_at").or("0"),
            int("expires_at"),
            int("decided_at"),
            text("decided_by"),
            int("used_at"),
        ],
        indexed: &["binding", "principal", "expires_at"],
    },
    Table {
        name: "limit_minute",
        columns: &[
            text("counted").key(),
            int("began_at").or("0"),
            int("granted").or("0"),
            int("following").or("0"),
        ],
        indexed: &[],
    },
    Table {
        name: "limit_place",
        columns: &[
            text("counted").key(),
            text("replica").key(),
            int("places").or("0"),
            int("asked").or("0"),
            int("asked_at").or("0"),
        ],
        indexed: &[],
    },
];

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        key: false,
        default: None,
    }
}

const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

const fn int(name: &'static str) -> Column {
    column(name, Kind::Int)
}

const fn boolean(name: &'static str) -> Column {
    column(name, Kind::Boolean)
}

const fn double(name: &'static str) -> Column {
    column(name, Kind::Double)
}

const fn identity(name: &'static str) -> Column {
    column(name, Kind::Identity).key()
}

impl Column {
    const fn key(mut self) -> Self {
        self.key = true;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// As in `CREATE TABLE` and `ALTER TABLE … ADD COLUMN`.
    pub(crate) fn ddl(&self, dialect: Dialect) -> String {
        self.ddl_in(dialect, self.key)
    }

    /// `alone`: it is the whole primary key.
    fn ddl_in(&self, dialect: Dialect, alone: bool) -> String {
        let mut text = format!("{} {}", self.name, self.kind.sql(dialect));
        if self.key {
            if alone {
                text.push_str(" PRIMARY KEY");
            }
            if (self.kind, dialect) == (Kind::Identity, Dialect::Sqlite) {
                text.push_str(" AUTOINCREMENT");
            }
            text.push_str(" NOT NULL");
        }
        if let Some(default) = self.default {
            text.push_str(" NOT NULL DEFAULT ");
            text.push_str(default);
        }
        text
    }
}

impl Table {
    /// `CREATE TABLE`.
    pub(crate) fn ddl(&self, dialect: Dialect) -> String {
        let key = self.key();
        let alone = key.len() == 1;
        let mut parts: Vec<_> = self
            .columns
            .iter()
            .map(|column| column.ddl_in(dialect, alone))
            .collect();
        if !alone {
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        format!("CREATE TABLE {} ({})", self.name, parts.join(", "))
    }

    /// The columns of the primary key.
    pub(crate) fn key(&self) -> Vec<&'static str> {
        self.columns
            .iter()
            .filter(|column| column.key)
            .map(|column| column.name)
            .collect()
    }
}

impl Kind {
    fn sql(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Text, _) => "TEXT",
            (Self::Int, _) => "BIGINT",
            (Self::Boolean, _) => "BOOLEAN",
            (Self::Double, _) => "DOUBLE PRECISION",
            (Self::Identity, Dialect::Sqlite) => "INTEGER",
            (Self::Identity, Dialect::Postgres) => "BIGINT GENERATED BY DEFAULT AS IDENTITY",
        }
    }

    /// Whether a live column of the declared type holds what the code reads and writes.
    pub(crate) fn accepts(self, declared: &str, dialect: Dialect) -> bool {
        let declared = declared.to_ascii_uppercase();
        match dialect {
            Dialect::Postgres => match self {
                Self::Text => declared == "TEXT" || declared.starts_with("CHARACTER VARYING"),
                Self::Int | Self::Identity => declared == "BIGINT",
                Self::Boolean => declared == "BOOLEAN",
                Self::Double => declared == "DOUBLE PRECISION",
            },
            // SQLite's own rules of affinity.
            Dialect::Sqlite => {
                let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
                match self {
                    Self::Int | Self::Identity => has(&["INT"]),
                    Self::Text => !has(&["INT"]) && has(&["CHAR", "CLOB", "TEXT"]),
                    Self::Double => has(&["REAL", "FLOA", "DOUB"]),
                    Self::Boolean => has(&["BOOL"]),
                }
            }
        }
    }

    /// The type in words, for people.
    pub(crate) fn describe(self) -> &'static str {
        self.sql(Dialect::Sqlite)
    }
}
