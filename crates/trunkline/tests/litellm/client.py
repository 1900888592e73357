"""LiteLLM's own management client, used as its documentation says, before a gateway.

    client.py BASE_URL MASTER_KEY UPSTREAM_URL

Each part runs one life cycle and prints one line of JSON with what the client returned; an exception ends it with its
traceback. The client is taken as `lite` takes it, without the rest of LiteLLM's package.
"""

import json
import sys

import requests
from litellm_cli import main as entry

entry._entry_points()  # what `lite` itself runs: the client alone, and not the whole SDK

from litellm.proxy.client import (  # noqa: E402
    Client,
    HealthManagementClient,
    UnauthorizedError,
    UsersManagementClient,
)
from litellm.proxy.client.exceptions import NotFoundError  # noqa: E402

base_url, master_key, upstream_url = sys.argv[1:4]
client = Client(base_url=base_url, api_key=master_key)
users = UsersManagementClient(base_url=base_url, api_key=master_key)


def report(part, **values):
    print(json.dumps({"part": part, **values}), flush=True)


def status_of(act):
    """The HTTP status with which the client says that it failed; 200 if it did not."""
    try:
        act()
    except UnauthorizedError:
        return 401
    except NotFoundError:
        return 404
    except requests.exceptions.HTTPError as error:
        return error.response.status_code
    return 200


def keys():
    made = client.keys.generate(
        models=[], aliases={}, spend=0, config={}, duration="24h", key_alias="by-client", user_id="ann"
    )
    key, token = made["key"], made["token"]
    own = Client(base_url=base_url, api_key=key)
    info = client.keys.info(key=token)
    listed = client.keys.list(return_full_object=True, user_id="ann", page=1, size=10)
    hashes = client.keys.list(key_alias="by-client")
    client.keys.update(key=key, key_alias="renamed", duration="2h", models=[], aliases={}, spend=0)
    renamed = client.keys.info(key=key)
    seen_by_itself = own.keys.info(key=token)
    may_make = status_of(lambda: own.keys.generate())
    rotated = client.http.request("POST", "/key/regenerate", json={"key": token})
    old = status_of(lambda: own.keys.info(key=token))
    deleted = client.keys.delete(key_aliases=["renamed"])
    gone = status_of(lambda: client.keys.info(key=rotated["token"]))
    wrong = status_of(lambda: Client(base_url=base_url, api_key="sk-wrong-0123456789").keys.list())
    report(
        "keys",
        key_has_prefix=key.startswith("sk-"),
        token_is_token_id=made["token_id"] == token,
        alias=info["info"]["key_alias"],
        info_has_key=key in json.dumps([info, listed, hashes, renamed]),
        listed=[row["token"] == token for row in listed["keys"]],
        hashes=hashes["keys"] == [token],
        renamed=renamed["info"]["key_alias"],
        seen_by_itself=seen_by_itself["key"] == token,
        may_make=may_make,
        rotated=rotated["token"] != token and rotated["key_alias"] == "renamed",
        old=old,
        deleted=deleted["deleted_keys"],
        gone=gone,
        wrong=wrong,
    )


def team_routes():
    request = client.http.request
    made = request("POST", "/team/new", json={"team_alias": "docs", "team_id": "docs-team"})
    request("POST", "/team/member_add", json={"team_id": "docs-team", "member": {"user_id": "ann", "role": "user"}})
    listed = client.teams.list()
    of_ann = client.teams.list(user_id="ann")
    of_nobody = client.teams.list(user_id="nobody")
    paged = client.teams.list_v2(page=1, page_size=5, team_alias="docs") if hasattr(client.teams, "list_v2") else None
    key = client.keys.generate(team_id="docs-team", key_alias="of-docs")
    of_team = client.keys.list(team_id="docs-team", include_team_keys=True, return_full_object=True)
    service = request("POST", "/key/service-account/generate", json={"team_id": "docs-team", "key_alias": "robot"})
    bulk = request(
        "POST",
        "/key/bulk_update",
        json={"keys": [{"key": service["token"], "team_id": "docs-team"}, {"key": "sk-nobody-0123456789"}]},
    )
    aliases = request("GET", "/key/aliases?team_id=docs-team")
    available = client.teams.get_available()
    deleted = request("POST", "/team/delete", json={"team_ids": ["docs-team"]})
    report(
        "teams",
        made=made["team_alias"],
        listed=[row["team_id"] for row in listed],
        of_ann=[row["team_id"] for row in of_ann],
        of_nobody=of_nobody,
        paged=paged and [row["team_id"] for row in paged["teams"]],
        of_team=[row["key_alias"] for row in of_team["keys"]],
        key_is_teams=key["team_id"],
        service=[service["user_id"], service["metadata"]],
        bulk=[bulk["total_requested"], len(bulk["successful_updates"]), bulk["failed_updates"][0]["failed_reason"]],
        aliases=aliases["aliases"],
        available=available,
        deleted=len(deleted["deleted_keys"]),
        left=client.teams.list(),
    )


def users_of_the_gateway():
    made = users.create_user({"user_email": "bob@example.com", "user_role": "internal_user", "user_alias": "Bob"})
    user_id = made["user_id"]
    own = UsersManagementClient(base_url=base_url, api_key=made["key"])
    report(
        "users",
        made=[made["user_role"], made["key"].startswith("sk-")],
        listed=[row["user_email"] for row in users.list_users({"user_ids": user_id})],
        info=users.get_user(user_id)["user_info"]["user_alias"],
        info_v2=users.get_user_v2(user_id)["user_email"],
        own=own.get_user()["user_id"] == user_id,
        masters=[users.get_user()["user_id"], len(users.get_user()["keys"])],
        strangers=status_of(lambda: own.get_user("ann")),
        unknown=status_of(lambda: users.get_user("nobody")),
        deleted=users.delete_user([user_id]),
        keyless=status_of(lambda: own.get_user()),
    )


def admin_of_a_team():
    """The same client with the key of somebody who is no proxy admin."""
    lead_key = users.create_user({"user_id": "lead", "user_email": "lead@example.com"})["key"]
    users.create_user({"user_id": "mate"})
    members = [{"user_id": "lead", "role": "admin"}]
    client.http.request("POST", "/team/new", json={"team_id": "led", "members_with_roles": members})
    lead = Client(base_url=base_url, api_key=lead_key)
    request = lead.http.request
    added = request("POST", "/team/member_add", json={"team_id": "led", "member": {"user_id": "mate", "role": "user"}})
    permissions = request("GET", "/team/permissions_list?team_id=led")
    permitted = request(
        "POST", "/team/permissions_update", json={"team_id": "led", "team_member_permissions": ["/key/generate"]}
    )
    made = lead.keys.generate(team_id="led", key_alias="by-lead", models=[], aliases={}, spend=0, duration="24h")
    lead.keys.update(key=made["key"], key_alias="renamed-by-lead", models=[], aliases={}, spend=0)
    renamed = lead.keys.info(key=made["token"])["info"]
    rotated = request("POST", "/key/regenerate", json={"key": made["token"]})
    blocked = request("POST", "/key/block", json={"key": rotated["token"]})["blocked"]
    unblocked = request("POST", "/key/unblock", json={"key": rotated["token"]})["blocked"]
    listed = lead.keys.list(team_id="led")["total_count"]
    others = client.keys.generate(team_id="led", user_id="mate", key_alias="by-master")
    deleted = lead.keys.delete(keys=[rotated["token"]])
    removed = request("POST", "/team/member_delete", json={"team_id": "led", "user_id": "mate"})
    report(
        "admin of a team",
        added=[row["user_id"] for row in added["members_with_roles"]],
        permissions=permissions["team_member_permissions"],
        permitted=permitted["team_member_permissions"],
        made=[made["user_id"], made["team_id"]],
        renamed=renamed["key_alias"],
        rotated=rotated["token"] != made["token"],
        blocked=[blocked, unblocked],
        listed=listed,
        not_for_others=status_of(lambda: lead.keys.generate(team_id="led", user_id="mate")),
        not_the_secret_of_others=status_of(lambda: request("POST", "/key/regenerate", json={"key": others["token"]})),
        not_elsewhere=status_of(lambda: lead.keys.generate(team_id="nowhere")),
        not_teams=status_of(lambda: request("POST", "/team/new", json={"team_id": "more"})),
        deleted=len(deleted["deleted_keys"]),
        removed=[row["user_id"] for row in removed["members_with_roles"]],
        gone=status_of(lambda: client.keys.info(key=others["token"])),
    )
    request = client.http.request
    request("POST", "/team/delete", json={"team_ids": ["led"]})
    users.delete_user(["lead", "mate"])


def servers():
    request = client.http.request
    made = request(
        "POST", "/v1/mcp/server", json={"server_name": "files", "url": upstream_url, "transport": "http"}
    )
    server_id = made["server_id"]
    changed = request("PUT", "/v1/mcp/server", json={"server_id": server_id, "description": "ours"})
    listed = request("GET", "/v1/mcp/server")
    granted = client.http.request(
        "POST", "/key/generate", json={"object_permission": {"mcp_servers": [server_id]}, "key_alias": "of-files"}
    )
    own = Client(base_url=base_url, api_key=granted["key"])
    tools = own.http.request("GET", "/mcp-rest/tools/list")
    deleted = requests.delete(
        f"{base_url}/v1/mcp/server/{server_id}", headers={"Authorization": f"Bearer {master_key}"}, timeout=30
    )
    report(
        "servers",
        made=made["server_name"],
        changed=changed["description"],
        listed=[row["server_id"] == server_id for row in listed],
        tools=[tool["name"] for tool in tools["tools"]],
        deleted=deleted.status_code,
        left=request("GET", "/v1/mcp/server"),
    )


report("health", status=HealthManagementClient(base_url=base_url, api_key=master_key).get_readiness()["status"])
keys()
team_routes()
users_of_the_gateway()
admin_of_a_team()
servers()
