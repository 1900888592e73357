//! The words of the gateway: servers, principals, scopes, outcomes, records.
//!
//! Everything here is data with the rules that belong to it. **No I/O, no async, no wire**: none of
//! these types is serialized to a client; edges convert. A new resource gets one file here and one of
//! the same name in each layer above.

pub mod budget;
pub mod call_approval;
pub mod clock;
mod count;
pub mod deployment;
mod display;
pub mod health;
pub mod ids;
pub mod key;
pub mod key_map;
pub mod metadata;
pub mod naming;
pub mod network;
pub mod notice;
pub mod openapi;
pub mod outcome;
pub mod pins;
pub mod principal;
pub mod program;
pub mod record;
pub mod routing;
pub mod sandbox;
pub mod scope;
pub mod secret;
pub mod server;
pub mod snapshot;
pub mod spending;
pub mod tenant;
pub mod tls;
pub mod tool_rule;
pub mod toolset;

pub use budget::{Amount, Budget};
pub use call_approval::{ApprovalMode, CallApproval, CallApprovalState};
pub use clock::{Clock, SystemClock};
pub use count::count;
pub use deployment::{Aws, Deployment, DeploymentParams, ModelList, SECRET_PARAMS, StoredModel};
pub use health::{Circuit, Health};
pub use ids::{ReplicaId, RequestId, ServerId, SessionKey};
pub use key::{CallLimits, Delegation, KeyHash, ObjectPermission, PreviousSecret, Route, VirtualKey};
pub use key_map::KeyMap;
pub use metadata::Metadata;
pub use network::{ClientAddress, ClientNetwork, IpNetwork, NotANetwork};
pub use notice::{Notice, Severity};
pub use openapi::{OpenApiFilter, OperationMatch};
pub use outcome::{Outcome, OutcomeStatus, Rejected, RejectedItem, Step};
pub use pins::{Pin, Pins};
pub use principal::{Holder, OnBehalfOf, PreviousId, Principal, PrincipalKind};
pub use record::{CallKind, CallRecord, ModelUse};
pub use routing::{ByKind, FailureKind, Fallbacks, ModelAlias, RouterRules, Strategy, Targets};
pub use sandbox::{Degree, Isolation, Network, Ports, SANDBOX_FIELDS, Sandbox, SandboxProblem, SandboxRules};
pub use scope::Scope;
pub use secret::Secret;
pub use server::{
    Approval, ApprovalStatus, AuthType, Credentials, EnvVar, EnvVarScope, Origin, PrefixMode, Server,
    ServerDefinition, SessionMode, Stamps, Transport,
};
pub use snapshot::Snapshot;
pub use spending::{ModelBudget, OnModel, Payer, Payers, Period, Spending};
pub use tenant::{
    EndUser, Level, MEMBER_PERMISSIONS, Member, MemberRole, Organization, OrganizationMember, Team, User,
    UserRole,
};
pub use tls::{Pem, TlsSettings, TlsVersion};
pub use tool_rule::{Claim, Filled, Hold, RuleProblem, Source, ToolApproval, ToolArguments, ToolCondition};
pub use toolset::{Toolset, ToolsetTool, Toolsets};
