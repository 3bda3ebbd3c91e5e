"""`timeline db …`: an address that works, and logins that read their own and nothing else."""

import re
import secrets

import psycopg
import pytest

from timeline_assets.cli import database as database_commands
from timeline_assets.errors import ConfigurationError
from timeline_assets.store import access
from timeline_assets.store.access import Scope
from timeline_assets.topology.merge import merge
from timeline_assets_tests.cli.conftest import CLOUD
from timeline_assets_tests.making import claims


@pytest.fixture
def name(postgres) -> str:
    """The name of a login to be made, dropped with the database."""
    name = f"reader_{secrets.token_hex(6)}"
    postgres.logins.append(name)
    return name


def rows(address: str, query: str = "select tenant_project_id, title from tenant_events order by 1, 2") -> list[tuple]:
    with psycopg.connect(address) as connection:
        return connection.execute(query).fetchall()


def address_in(ran) -> str:
    return next(line for line in ran.lines if line.startswith("postgresql://"))


def refused(address: str, query: str) -> bool:
    try:
        rows(address, query)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


ACME = [("p-acme", "A step"), *(("p-acme", f"Server web-1 {done}") for done in ("created", "deleted", "rebooted"))]
GLOBEX = [("p-globex", "Server web-1 created")]


def test_the_address_works_as_the_role_asked_for(told):
    ran = told("db", "url")
    assert ran.code == 0
    assert "Do not" not in ran.out and "every tenant" in ran.err
    assert rows(ran.out.strip(), "select count(*) from timeline.events") == [(6,)]
    assert refused(ran.out.strip(), "delete from timeline.events")
    assert not refused(
        told("db", "url", "--role", "pipeline").out.strip(), "delete from timeline.events where false returning 1"
    )


def test_an_unknown_role_is_refused_with_those_there_are(told):
    ran = told("db", "url", "--role", "root")
    assert ran.code == 2
    assert "provider" in ran.err


def test_psql_needs_no_password_and_reads_what_the_role_may(told, tmp_path):
    answer = tmp_path / "answer"
    assert told("db", "psql", "-At", "-o", str(answer), "-c", "select count(*) from timeline.events").code == 0
    assert answer.read_text() == "6\n"
    assert told("db", "psql", "-c", "delete from timeline.events").code == 1
    assert told("db", "psql", "--role", "pipeline", "-c", "delete from timeline.events where false").code == 0


def test_migrate_says_what_it_did(on_database):
    ran = on_database("db", "migrate")
    assert (ran.code, ran.out) == (0, "Up to date.\n")


def test_a_login_of_one_project_reads_its_own_and_nothing_else(told, name):
    ran = told("db", "grant", name, "--project", "acme/production")
    assert ran.code == 0, ran.err
    assert ran.lines[0] == f"{name} reads project p-acme of north"
    assert "shown this once" in ran.err
    address = address_in(ran)
    assert rows(address) == ACME
    for hidden in ("timeline.events", "timeline.quarantine", "topology.resources", "access.grants", "raw.latest"):
        assert refused(address, f"select * from {hidden}"), hidden
    assert refused(address, "set role timeline_provider")


def test_a_second_project_widens_the_same_login(told, name):
    address = address_in(told("db", "grant", name, "--project", "p-acme"))
    ran = told("db", "grant", name, "--project", "p-globex")
    assert ran.lines == [f"{name} reads project p-globex of north"], "no password: it was there"
    assert rows(address) == ACME + GLOBEX


def test_a_whole_domain(told, name):
    assert rows(address_in(told("db", "grant", name, "--domain", "d-globex"))) == GLOBEX


def test_taking_back_narrows_and_at_last_closes(told, name):
    address = address_in(told("db", "grant", name, "--project", "p-acme", "--project", "p-globex"))
    with psycopg.connect(address) as connection:
        assert told("db", "revoke", name, "--project", "p-globex").out == f"1 grant of {name} taken back.\n"
        assert rows(address) == ACME
        assert told("db", "revoke", name).code == 0
        # a session in progress ends with its statement
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from timeline.tenant_events")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(address)


def test_what_was_taken_back_can_be_given_again(told, name):
    address = address_in(told("db", "grant", name, "--project", "p-acme"))
    told("db", "revoke", name)
    assert told("db", "grant", name, "--project", "p-globex").code == 0
    assert rows(address) == GLOBEX


def test_the_table_of_grants_is_its_own_audit(told, name, database):
    told("db", "grant", name, "--project", "p-acme")
    told("db", "revoke", name)
    with database.connect("pipeline") as connection:
        [row] = connection.execute(
            """select kind, cloud, scope_id, revoked_at is not null, granted_by = revoked_by, granted_by::text
            from access.grants where login = %s""",
            [name],
        )
    assert row == ("project", CLOUD, "p-acme", True, True, database.urls["admin"].username)


def test_an_analyst_reads_everything_and_changes_nothing(told, name):
    address = address_in(told("db", "grant", name, "--provider"))
    assert rows(address, "select count(*) from timeline.events") == [(6,)]
    assert rows(address, "show default_transaction_read_only") == [("on",)]
    assert refused(address, "set transaction read write; update timeline.events set title = ''")


def test_nobody_is_a_tenant_and_the_provider_at_once(told, name):
    told("db", "grant", name, "--provider")
    ran = told("db", "grant", name, "--project", "p-acme")
    assert ran.code == 2
    assert "cannot be a tenant's and the provider's at once" in ran.err


def test_a_login_with_other_rights_is_not_taken(database, login):
    other = login("timeline_writer").username
    with pytest.raises(ConfigurationError, match="has rights beyond reading"):
        access.grant(database, other, [Scope("provider")])


@pytest.mark.parametrize("bad", ["postgres", "pg_x", "timeline_owner", "Reader", "a b", 'a"b', ""])
def test_names_that_are_none(told, bad):
    ran = told("db", "grant", bad, "--provider")
    assert ran.code == 2
    assert "cannot be the name of a login" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to grant"),
        (["--project", "nobody"], "there is no project 'nobody'"),
        (["--project", "production"], "project 'production' is 2 things; which one?"),
    ],
)
def test_a_grant_that_cannot_be_made_makes_nothing(told, name, postgres, *, database, arguments, said):
    postgres.logins.remove(name)
    ran = told("db", "grant", name, *arguments)
    assert ran.code == 2
    assert said in ran.err
    with database.connect("admin") as connection:
        assert not connection.execute("select from pg_roles where rolname = %s", [name]).fetchall()


def test_taking_back_what_is_not_held_says_what_is(told, name):
    told("db", "grant", name, "--project", "p-acme")
    ran = told("db", "revoke", name, "--project", "p-globex")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == "  It holds: project north/p-acme."


def test_a_subtree_is_a_project_with_all_below_it(told, name, database):
    address = address_in(told("db", "grant", name, "--subtree", "acme/production"))
    assert rows(address) == ACME
    child = {"resource_type": "project", "resource_id": "p-globex", "relation": "child_of", "to_type": "project"}
    edges = claims({**child, "cloud": CLOUD, "claim": "edges", "to_ids": ["p-acme"], "minute": 0})
    with database.connect("pipeline") as connection:
        merge(connection, edges)
    assert rows(address) == ACME + GLOBEX, "what comes under it is read from then on"
    assert told("db", "revoke", name, "--subtree", "p-acme").out == f"1 grant of {name} taken back.\n"
    with database.connect("pipeline") as connection:
        audit = connection.execute(
            "select kind, scope_id, revoked_at is not null from access.grants where login = %s", [name]
        )
        assert audit.fetchall() == [("subtree", "p-acme", True)]
        assert connection.execute("select * from access.projects where login = %s", [name]).fetchall() == []


@pytest.mark.parametrize("command", ["url", "psql"])
def test_every_role_is_a_whole_word_of_the_help(timeline, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    words = set(re.findall(r"[a-z]+", timeline("db", command, "--help").out))
    assert {role.value for role in database_commands.RoleName} <= words
