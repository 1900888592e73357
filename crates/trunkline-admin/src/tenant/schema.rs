//! The shapes of these routes, for the document: made from the fields in [`super::fields`].

use utoipa::IntoResponses;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

use super::fields::{CUSTOMER, Kind, ORGANIZATION, TEAM, USER};
use crate::actor::AuthErrorBody;
use crate::error::ValidationErrorBody;
use crate::key::limits::NAMES;
use crate::key::schema::{
    closed, dollars, limit, model_budgets, nullable, object, open, permission, shapes, text, texts, typed,
};

/// How the routes fail.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "of the document alone")]
pub(crate) enum Failures {
    /// Something that is taken, or that cannot be so.
    #[response(status = 400)]
    Bad(AuthErrorBody),
    /// Not the caller's.
    #[response(status = 403)]
    NotOwn(AuthErrorBody),
    /// Nobody has the id.
    #[response(status = 404)]
    NotFound(AuthErrorBody),
    /// Unknown or not supported fields or parameters, wrong types, no JSON.
    #[response(status = 422)]
    Invalid(ValidationErrorBody),
    /// The database did not store it.
    #[response(status = 503)]
    Database(AuthErrorBody),
}

shapes! {
    /// The body that makes a team.
    NewTeam as "NewTeamRequest" = closed(
        fields(&TEAM)
            .property("team_id", text("Chosen by the caller, or made up at random. Never changes."))
            .property("members_with_roles", members("Who is in it.", "`admin` or `user`."))
    );
    /// The body that changes one.
    TeamChange as "UpdateTeamRequest" = closed(fields(&TEAM).property("team_id", text("Which team.")).required("team_id"));
    /// The same, of a team that the path names.
    TeamPatch as "PatchTeamRequest" = closed(fields(&TEAM));
    /// The body that names a team.
    TeamNamed as "BlockTeamRequest" = closed(object().property("team_id", text("Which team.")).required("team_id"));
    /// The body that names several.
    TeamsNamed as "DeleteTeamRequest" = closed(object().property("team_ids", texts("Which teams.")).required("team_ids"));
    /// The body that adds members.
    TeamMembersNew as "TeamMemberAddRequest" = closed(
        object()
            .property("team_id", text("Which team."))
            .required("team_id")
            .property("member", members("One or several.", "`admin` or `user`."))
            .required("member")
    );
    /// The body that adds many members.
    TeamMembersMany as "BulkTeamMemberAddRequest" = closed(
        object()
            .property("team_id", text("Which team."))
            .required("team_id")
            .property("members", members("500 at most.", "`admin` or `user`."))
            .required("members")
    );
    /// What became of them.
    TeamMembersAdded as "BulkTeamMemberAddResponse" = object()
        .property("team_id", text("Which team."))
        .property("results", ArrayBuilder::new().items(object()).description(Some("Of each `success`, and `error` if not.")))
        .property("updated_team", object().description(Some("The team as it is now.")));
    /// The body that names models of a team.
    TeamModels as "TeamModelAddRequest" = closed(
        object()
            .property("team_id", text("Which team."))
            .required("team_id")
            .property("models", texts("Names, or the beginning of names with `*`."))
            .required("models")
    );
    /// The body that names a member, and what it is from now on.
    TeamMemberChange as "TeamMemberUpdateRequest" = closed(member().property("role", text("`admin` or `user`.")));
    /// The body that names a member.
    TeamMemberNamed as "TeamMemberDeleteRequest" = closed(member());
    /// The body that says what its members may do.
    TeamPermissionsChange as "UpdateTeamMemberPermissionsRequest" = closed(
        object()
            .property("team_id", text("Which team."))
            .required("team_id")
            .property("team_member_permissions", texts("All that members may do."))
            .required("team_member_permissions")
    );
    /// What its members may do.
    TeamPermissions as "GetTeamMemberPermissionsResponse" = object()
        .property("team_id", text("Which team."))
        .property("team_member_permissions", texts("What members that are no admins may do with their own keys of the team."))
        .property("all_available_permissions", texts("What they could be let do."));
    /// A team in an answer.
    TeamRow as "LiteLLM_TeamTable" = row(&TEAM, "team_id").property("members_with_roles", members("Who is in it.", "`admin` or `user`."));

    /// The body that makes a user.
    NewUser as "NewUserRequest" = closed(
        fields(&USER)
            .property("user_id", text("Chosen by the caller, or made up at random. Never changes."))
            .property("teams", texts("The teams that it is to be in."))
            .property("auto_create_key", nullable(Type::Boolean).description(Some("Whether a key is made for it; so unless `false`.")))
            .property("key_alias", text("The key's alias."))
            .property("duration", text("How long the key is good."))
    );
    /// The body that changes one.
    UserChange as "UpdateUserRequest" = user_change();
    /// The body that changes many.
    UserChanges as "BulkUpdateUserRequest" = closed(
        object()
            .property("users", ArrayBuilder::new().items(user_change()).max_items(Some(500)).description(Some("Each as the body of `/user/update`.")))
            .property("all_users", nullable(Type::Boolean).description(Some("Instead: all of them, 500 at most.")))
            .property("user_updates", closed(fields(&USER)).description(Some("With `all_users`: what each has from now on. No `user_email`.")))
    );
    /// What became of them.
    UserChangesDone as "BulkUpdateUserResponse" = object()
        .property("results", ArrayBuilder::new().items(
            object()
                .property("user_id", text("Which."))
                .property("user_email", text("As it was named."))
                .property("success", typed(Type::Boolean))
                .property("error", text("Why it is as it was."))
                .property("updated_user", nullable(Type::Object).description(Some("The answer of `/user/update`.")))
        ))
        .property("total_requested", typed(Type::Integer))
        .property("successful_updates", typed(Type::Integer))
        .property("failed_updates", typed(Type::Integer));
    /// The body that names several.
    UsersNamed as "DeleteUserRequest" = closed(object().property("user_ids", texts("Which users.")).required("user_ids"));
    /// A user in an answer.
    UserRow as "LiteLLM_UserTable" = row(&USER, "user_id").property("teams", texts("The teams that it is in."));

    /// The body that makes an organisation.
    NewOrganization as "NewOrganizationRequest" = closed(
        fields(&ORGANIZATION)
            .property("organization_id", text("Chosen by the caller, or made up at random. Never changes."))
            .required("organization_alias")
    );
    /// The body that changes one.
    OrganizationChange as "UpdateOrganizationRequest" = closed(
        fields(&ORGANIZATION)
            .property("organization_id", text("Which organisation."))
            .required("organization_id")
    );
    /// The body that names several to be deleted.
    OrganizationsNamed as "DeleteOrganizationRequest" = closed(
        object().property("organization_ids", texts("Which organisations.")).required("organization_ids")
    );
    /// The body that names several to be shown.
    OrganizationsAsked as "OrganizationRequest" = closed(
        object().property("organizations", texts("Which organisations.")).required("organizations")
    );
    /// The body that adds members.
    OrganizationMembersNew as "OrganizationMemberAddRequest" = closed(
        object()
            .property("organization_id", text("Which organisation."))
            .required("organization_id")
            .property("member", members("One or several.", "`internal_user` or `internal_user_viewer`."))
            .required("member")
    );
    /// The body that names a member, and what it is from now on.
    OrganizationMemberChange as "OrganizationMemberUpdateRequest" = closed(
        organization_member().property("role", text("`internal_user` or `internal_user_viewer`.")).required("role")
    );
    /// The body that names a member.
    OrganizationMemberNamed as "OrganizationMemberDeleteRequest" = closed(organization_member());
    /// An organisation in an answer.
    OrganizationRow as "LiteLLM_OrganizationTable" = row(&ORGANIZATION, "organization_id");

    /// The body that makes an end user.
    NewCustomer as "NewCustomerRequest" = closed(
        fields(&CUSTOMER).property("user_id", text("What requests say.")).required("user_id")
    );
    /// The body that changes one.
    CustomerChange as "UpdateCustomerRequest" = closed(
        fields(&CUSTOMER).property("user_id", text("Which end user.")).required("user_id")
    );
    /// The body that names several.
    CustomersNamed as "BlockUsers" = closed(object().property("user_ids", texts("Which end users.")).required("user_ids"));
    /// An end user in an answer.
    CustomerRow as "LiteLLM_EndUserTable" = row(&CUSTOMER, "user_id");
}

fn user_change() -> ObjectBuilder {
    closed(fields(&USER).property("user_id", text("Which user; without, `user_email` says which.")))
}

/// The fields that a body may have.
fn fields(kind: &Kind) -> ObjectBuilder {
    kind.served
        .iter()
        .fold(object(), |object, (name, doc)| match *name {
            "metadata" => object.property(*name, nullable(Type::Object).description(Some(*doc))),
            "blocked" => object.property(*name, nullable(Type::Boolean).description(Some(*doc))),
            "object_permission" => object.property(*name, permission(doc)),
            _ if NAMES.contains(name) => limit(object, name, doc),
            "models" | "team_member_permissions" => object.property(*name, texts(doc)),
            "max_budget" | "soft_budget" => object.property(*name, dollars(doc)),
            "model_max_budget" => object.property(*name, model_budgets(doc)),
            _ => object.property(*name, text(doc)),
        })
}

fn row(kind: &Kind, id: &str) -> ObjectBuilder {
    fields(kind)
        .property(id, text("Which."))
        .required(id)
        .property("created_at", text("RFC 3339."))
        .property("created_by", text("By whom."))
        .property("updated_at", text("RFC 3339."))
        .property("updated_by", text("By whom."))
        .property(
            "defect",
            text("What of its row cannot be read; whoever it would restrict is refused."),
        )
}

fn members(doc: &str, roles: &str) -> ArrayBuilder {
    let one = object()
        .property("user_id", text("Which user; this, or its address."))
        .property("user_email", text("The user's address."))
        .property("role", text(roles));
    ArrayBuilder::new().items(one).description(Some(doc))
}

fn member() -> ObjectBuilder {
    object()
        .property("team_id", text("Which team."))
        .required("team_id")
        .property("user_id", text("Which user; this, or its address."))
        .property("user_email", text("The user's address."))
}

fn organization_member() -> ObjectBuilder {
    object()
        .property("organization_id", text("Which organisation."))
        .required("organization_id")
        .property("user_id", text("Which user; this, or its address."))
        .property("user_email", text("The user's address."))
}

shapes! {
    /// An answer that has rows and more.
    Answer as "ManagementAnswer" = typed(Type::Object).property("data", open());
}
