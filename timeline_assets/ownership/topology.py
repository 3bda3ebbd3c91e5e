"""The topology as the rules of ownership see it: read once for a whole frame of events, as of one belief.

Every question that a rule may ask is a join with what was read; nothing here asks the database event by event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl
import psycopg

from timeline_assets.config import CloudSettings
from timeline_assets.normalize.schema import TRANSFERABLE
from timeline_assets.ownership import decisions, names, services, siblings
from timeline_assets.store.copy import read_frame
from timeline_assets.topology import lookup

#: What a resource may hang on so that its owner is the owner of what it hangs on.
CONTAINERS = ("device", "attached", "amphora_of", "stack_resource", "node_of")

#: A question: a resource during an event's bounds.
QUESTION = ("resource_type", "resource_id", "occurred_from", "occurred_to")

#: Ids as they stand in a request's path, with and without dashes.
_ID = r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"

#: How far away something may be on which a resource hangs.
STEPS = 3

_RELATED = pl.List(pl.Struct({"type": pl.String, "id": pl.String, "role": pl.String}))
_REACHED = pl.Schema(
    {
        "row": pl.UInt32,
        "owner_project_id": pl.String,
        "is_exact": pl.Boolean,
        "owner_raw_ref": pl.String,
        "path": pl.String,
    }
)


@dataclass(frozen=True)
class Topology:
    """What was believed at `pin` about everything that one frame of events names.

    `answers` has one row per `QUESTION` (the columns of :data:`timeline_assets.topology.lookup.OWNERS` beside it),
    `users` the domain (`domain_id`) of each user (`id`) that is known. `events` is the whole frame, `decided` what
    earlier rules said of it (:data:`timeline_assets.ownership.rules.VERDICT`). `service_periods`
    (:data:`timeline_assets.ownership.services.PERIODS`) is what members tell of service projects.
    """

    connection: psycopg.Connection
    cloud: str
    pin: datetime
    service_projects: tuple[str, ...]
    service_periods: pl.DataFrame
    service_users: tuple[str, ...]
    transferable: tuple[str, ...]
    events: pl.DataFrame
    answers: pl.DataFrame
    users: pl.DataFrame
    decided: pl.DataFrame | None = None

    @classmethod
    def read(cls, connection: psycopg.Connection, cloud: CloudSettings, events: pl.DataFrame) -> Topology:
        """Reads what the rules may need for these events (FACT columns and `row`), as believed now."""
        pin = lookup.pin(connection, cloud.name)
        answers = _owners(connection, cloud.name, [events, related_resources(events)], pin)
        is_user = pl.col("resource_type") == "user"
        users = pl.concat([events["actor_user_id"], events.filter(is_user)["resource_id"]])
        return cls(
            connection,
            cloud.name,
            pin,
            _ids_of(connection, cloud, "project", cloud.service_projects),
            services.periods(connection, cloud.name, cloud.service_role, pin),
            _ids_of(connection, cloud, "user", cloud.service_users),
            tuple(sorted(TRANSFERABLE if cloud.volume_transfers else TRANSFERABLE - {"volume", "snapshot"})),
            events,
            answers,
            lookup.domains_of(connection, cloud.name, "user", users, pin),
        )

    # what the rules ask

    def is_service_project(self, column: str) -> pl.Expr:
        """Whether the project in `column` was a service project at `occurred_from`; false where there is none.

        One that is configured always is; another was while its members were all services (few ever are, so an
        expression can name them all).
        """
        is_service = pl.col(column).is_in(list(self.service_projects))
        for project_id, start, end in self.service_periods.iter_rows():
            has_begun = pl.lit(True) if start is None else pl.col("occurred_from") >= start
            goes_on = pl.lit(True) if end is None else pl.col("occurred_from") < end
            is_service = is_service | ((pl.col(column) == project_id) & has_begun & goes_on)
        return is_service.fill_null(False)

    def home_of_users(self, events: pl.DataFrame) -> pl.DataFrame:
        """`row`, `home_domain_id`: the domain of the user that is an event's target, where it is known."""
        homes = events.select("row", "resource_id").join(self.users, left_on="resource_id", right_on="id")
        return homes.select("row", home_domain_id="domain_id")

    def owners(self, events: pl.DataFrame) -> pl.DataFrame:
        """Where one project owned the target: `row`, `owner_project_id`, `owner_from`, `owner_to`, `is_exact`,
        `owner_raw_ref`.

        A kind that cannot change hands belonged to its one owner even a moment before its `created_at` (the action that
        creates a server begins before the server's row does). A kind that can did so only from the first evidence on.
        """
        return self._owned(events, self.answers)

    def containers(self, events: pl.DataFrame) -> pl.DataFrame:
        """What events' resources hung on when they happened, up to `STEPS` away, until exactly one project owned it.

        `row`, `owner_project_id`, `is_exact`, `owner_raw_ref`, and `path` as JSON text. Two owners at the same distance
        decide nothing, and nothing further away does then.
        """
        reached = [pl.DataFrame(schema=_REACHED)]
        frontier = events.select("row", *QUESTION, path=pl.lit("[]"))
        for _ in range(STEPS):
            if frontier.is_empty():
                break
            frontier = self._step(frontier)
            owned = self._owned(frontier, _owners(self.connection, self.cloud, [frontier], self.pin), "row", "path")
            nearest = owned.group_by("row").agg(
                pl.col("owner_project_id").n_unique().alias("owners"),
                pl.col("owner_project_id", "owner_raw_ref", "path").sort_by("path").first(),
                pl.col("is_exact").all(),
            )
            reached.append(nearest.filter(pl.col("owners") == 1).select(_REACHED.names()))
            frontier = frontier.join(nearest, on="row", how="anti")
        return pl.concat(reached)

    def handovers(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events during which their resource may have changed hands: `row`, `parties` (JSON text)."""
        can_move = pl.col("resource_type").is_in(list(self.transferable))
        asked = events.select("row", *QUESTION).filter(can_move)
        return asked.join(self.answers.filter(pl.col("status") == "hole"), on=QUESTION).select(
            "row", parties="candidates"
        )

    def disputed(self, events: pl.DataFrame) -> pl.DataFrame:
        """`row` of the events about whose resource the evidence contradicts itself, or is of two owners."""
        is_disputed = pl.col("status").is_in(["hole", "conflict"])
        return events.select("row", *QUESTION).join(self.answers.filter(is_disputed), on=QUESTION).select("row")

    def siblings(self, events: pl.DataFrame) -> pl.DataFrame:
        """The proven owners of other events of the same requests: `row`, `scope`, `project_id`, `domain_id`."""
        beside = self.events.drop("scope", "project_id", "domain_id", "confidence", strict=False)
        beside = beside.join(self.decided, on="row", how="left")
        beside = beside.join(self.disputed_projects(beside), on="row", how="left").with_columns(
            confidence=pl.when(pl.col("claimed_by").is_null()).then("confidence")
        )
        return siblings.proven_siblings(self.connection, self.cloud, events, beside)

    def named_in_path(self, events: pl.DataFrame) -> pl.DataFrame:
        """Where the other resources that a request's path names by id were all one project's when it happened.

        `row`, `owner_project_id`, `path` (JSON text). An id of which no project's ownership is known says nothing; one
        that is disputed takes all its row away.
        """
        asked = _in_path(events)
        if asked.is_empty():
            return pl.DataFrame(schema={"row": pl.UInt32, "owner_project_id": pl.String, "path": pl.String})
        asked = asked.with_columns(_key=pl.int_range(pl.len(), dtype=pl.UInt32))
        answers = lookup.owners_at(self.connection, _keys(asked, self.cloud, "_key"), self.pin)
        known = asked.drop("resource_type").join(answers, left_on="_key", right_on="row")
        is_disputed = pl.col("status").is_in(["hole", "conflict"]).any().over("row")
        step = pl.struct(
            type="resource_type",
            id="resource_id",
            relation=pl.lit("request_path"),
            valid_from="valid_from",
            valid_to="valid_to",
        ).struct.json_encode()
        return (
            known.filter(~is_disputed)
            .filter(self._holds() & pl.col("project_id").is_not_null())
            .group_by("row")
            .agg(
                pl.col("project_id").n_unique().alias("owners"),
                pl.col("project_id").first().alias("owner_project_id"),
                path=pl.concat_str(
                    pl.lit("["), step.sort_by("resource_type", "resource_id").str.join(","), pl.lit("]")
                ),
            )
            .filter(pl.col("owners") == 1)
            .drop("owners")
        )

    def projects_named(self, events: pl.DataFrame) -> pl.DataFrame:
        """See :func:`timeline_assets.ownership.names.projects_named`."""
        return names.projects_named(self.connection, self.cloud, events, self.pin)

    def called(self, events: pl.DataFrame) -> pl.DataFrame:
        """See :func:`timeline_assets.ownership.names.called`."""
        return names.called(self.connection, self.cloud, events, self.pin)

    def decisions_about(self, event_ids: pl.Series) -> pl.DataFrame:
        """What a person decided of these events (:data:`timeline_assets.ownership.decisions.DECISION`)."""
        if event_ids.is_empty():
            return pl.DataFrame(schema=decisions.DECISION)
        return decisions.decisions_about(self.connection, self.cloud, event_ids)

    def disputed_projects(self, verdicts: pl.DataFrame) -> pl.DataFrame:
        """Where the claims about a verdict's project contradict each other then: `row`, `claimed_by` (JSON text).

        `verdicts` has `row`, `project_id` and the bounds.
        """
        disputes = lookup.conflicts_of(self.connection, self.cloud, "project", verdicts["project_id"], self.pin)
        has_begun = pl.col("valid_from").is_null() | (pl.col("occurred_to") > pl.col("valid_from"))
        goes_on = pl.col("valid_to").is_null() | (pl.col("occurred_from") < pl.col("valid_to"))
        joined = verdicts.select("row", "occurred_from", "occurred_to", id="project_id").join(disputes, on="id")
        return joined.filter(has_begun & goes_on).group_by("row").agg(claimed_by=pl.col("candidates").min())

    def edges(
        self, places: pl.DataFrame, key: str, relations: tuple[str, ...], *, backward: bool = False
    ) -> pl.DataFrame:
        """The edges (:data:`timeline_assets.topology.lookup.EDGES_AT`) from places (`key` and `QUESTION`), or to them.

        One that another observation no longer had may have ended before the event: it proves nothing.
        """
        known = lookup.edges_at(self.connection, _keys(places, self.cloud, key), relations, self.pin, backward=backward)
        return known.filter(pl.col("is_exact") | (pl.col("ending") != "changed"))

    def owners_of(self, places: pl.DataFrame, *keep: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Places (`QUESTION`) that one project owned, with the columns `keep`, and those whose owner is not known for
        good: unknown, or of a kind that can change hands."""
        answers = _owners(self.connection, self.cloud, [places], self.pin)
        return self._owned(places, answers, "occurred_from", *keep), places.join(
            self._settled(answers), on=QUESTION, how="anti"
        )

    def why_not(self, events: pl.DataFrame) -> pl.DataFrame:
        """For events no rule decided: `row`, `code`, `why_not` (a sentence), `candidates` (JSON text)."""
        asked = events.join(self.answers, on=QUESTION, how="left", maintain_order="left", nulls_equal=True)
        reasons = {
            "conflict": ("CONFLICT", "evidence names more than one owner of the {} for this time"),
            "hole": ("INTERVAL_OVERLAP", "the {} changed hands between two observations, and this lies between them"),
            "before": (
                "TOPOLOGY_GAP",
                "who owned the {} before it was first seen is not proven: its kind can change hands",
            ),
            "unowned": ("TOPOLOGY_GAP", "the {} is known, but nothing has named its owner"),
            "unknown": ("NO_EVIDENCE", "no listing and no message has shown the {} yet"),
        }
        status = pl.when(pl.col("status").is_in(list(reasons))).then("status").otherwise(pl.lit("unowned"))
        named = status.fill_null("unknown")
        sentence = named.replace_strict({key: text for key, (_, text) in reasons.items()})
        return asked.select(
            "row",
            code=named.replace_strict({key: code for key, (code, _) in reasons.items()}),
            why_not=sentence.str.replace("{}", pl.col("resource_type"), literal=True),
            candidates=pl.col("candidates").fill_null("[]"),
        )

    # what the stage adds to the rows

    def with_known_actors(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events with the actor's domain where it is known, and service users named as such."""
        homes = self.users.select(actor_user_id="id", _home="domain_id")
        is_service = pl.col("actor_user_id").is_in(list(self.service_users)).fill_null(False)
        is_unsaid = pl.col("actor_kind").fill_null("unknown") == "unknown"
        return (
            events.join(homes, on="actor_user_id", how="left", maintain_order="left")
            .with_columns(
                actor_domain_id=pl.coalesce("actor_domain_id", "_home"),
                actor_kind=pl.when(is_service & is_unsaid).then(pl.lit("service")).otherwise("actor_kind"),
            )
            .drop("_home")
        )

    def with_domains(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with `project_domain_id`: the domain of the project in `project_id`, null while it is unknown."""
        projects = lookup.domains_of(self.connection, self.cloud, "project", rows["project_id"], self.pin)
        homes = projects.select(project_id="id", project_domain_id="domain_id")
        return rows.join(homes, on="project_id", how="left", maintain_order="left")

    def with_tenant_related(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with `tenant_related` (JSON text): of `related`, what the event's owner owned itself at the time."""
        related = related_resources(rows).join(rows.select(event_row="row", _owner="owner_project_id"), on="event_row")
        own = self._owned(related, self.answers, "event_row", "_owner", "resource_type", "resource_id", "role").filter(
            pl.col("owner_project_id") == pl.col("_owner")
        )
        item = pl.struct(type="resource_type", id="resource_id", role="role").struct.json_encode()
        texts = own.group_by(row="event_row").agg(tenant_related=item.unique().sort().str.join(","))
        return rows.join(texts, on="row", how="left", maintain_order="left").with_columns(
            tenant_related=pl.concat_str(pl.lit("["), pl.col("tenant_related").fill_null(""), pl.lit("]"))
        )

    def awaits(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Resources that would change a row if more were known of them (:data:`timeline_assets.timeline.write.AWAITS`).

        The target needs one while its name is not known; what it is related to, while the owner of that is not known or
        can change; so do an actor and an owner whose domain is not known, and what a quarantined event's resource
        hung on.
        """
        related = related_resources(rows).join(self._settled(self.answers), on=QUESTION, how="anti")
        event = ("cloud", "event_id", "occurred_at")
        concerned = related.select("resource_id", row="event_row").join(rows.select("row", *event), on="row")
        strangers = rows.filter(pl.col("actor_user_id").is_not_null() & pl.col("actor_domain_id").is_null())
        homeless = rows.filter(pl.col("owner_project_id").is_not_null() & pl.col("owner_domain_id").is_null())
        nameless = rows.filter(pl.col("resource_name").is_null())
        beside = pl.concat(
            [self._around(rows), self._requested(rows), names.awaited(self.connection, self.cloud, rows)]
        )
        return pl.concat(
            [
                nameless.select("resource_id", *event),
                concerned.select("resource_id", *event),
                strangers.select(pl.col("actor_user_id").alias("resource_id"), *event),
                homeless.select(pl.col("owner_project_id").alias("resource_id"), *event),
                beside.join(rows.select("row", *event), on="row").select("resource_id", *event),
            ]
        ).unique()

    def _around(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What the resources hung on where that decided, or may once do: `row`, `resource_id`."""
        is_weak = pl.col("rule").is_in(["containment", decisions.RULE])
        hanging = rows.filter((pl.col("owner_scope") == "quarantine") | is_weak)
        frontier = hanging.select("row", *QUESTION, path=pl.lit("[]"))
        passed = [pl.DataFrame(schema={"row": pl.UInt32, "resource_id": pl.String})]
        for _ in range(STEPS):
            frontier = self._step(frontier)
            passed.append(frontier.select("row", "resource_id"))
        return pl.concat(passed)

    def _requested(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What else may decide about rows: `row`, `resource_id`.

        Other events of the request, what its path names, and the project that would own it but for its members (unless
        it is configured) or its domain.
        """
        weak = rows.filter(pl.col("rule").is_in(siblings.WEAK))
        in_path = _in_path(weak.filter(pl.col("rule") != "request_sibling"))
        requests = siblings.keyed(weak, "row").select("row", resource_id=pl.format("request:{}", "request"))
        withheld = rows.filter(
            pl.col("withheld_project_id").is_not_null()
            & ~pl.col("withheld_project_id").is_in(list(self.service_projects))
        )
        return pl.concat(
            [
                requests,
                in_path.select("row", "resource_id"),
                withheld.select("row", resource_id="withheld_project_id"),
            ]
        )

    def _owned(self, events: pl.DataFrame, answers: pl.DataFrame, *keep: str) -> pl.DataFrame:
        """Of `events` those whose resource one project owned: the columns `keep` (default: `row`) and the interval."""
        is_fixed = ~pl.col("resource_type").is_in(list(self.transferable))
        found = events.join(answers.filter(self._holds() & pl.col("project_id").is_not_null()), on=QUESTION)
        return found.select(
            *(keep or ("row",)),
            owner_project_id="project_id",
            owner_from="valid_from",
            owner_to="valid_to",
            is_exact=pl.col("is_exact") | (is_fixed & (pl.col("status") == "before")),
            owner_raw_ref="raw_ref_right" if "raw_ref" in events.columns else "raw_ref",
        )

    def _holds(self) -> pl.Expr:
        """Whether an answer names the owner: a kind that cannot change hands has one even before it was first seen."""
        is_fixed = ~pl.col("resource_type").is_in(list(self.transferable))
        return pl.col("status").is_in(["owned", "after"]) | (is_fixed & (pl.col("status") == "before"))

    def _settled(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Answers that nothing is expected to change."""
        return answers.filter((pl.col("status") == "owned") & ~pl.col("resource_type").is_in(list(self.transferable)))

    def _step(self, frontier: pl.DataFrame) -> pl.DataFrame:
        """What the frontier's resources (`row`, `QUESTION`, `path`) hung on: the same columns, one step further."""
        if frontier.is_empty():
            return frontier.select("row", *QUESTION, "path")
        numbered = frontier.with_columns(_key=pl.int_range(pl.len(), dtype=pl.UInt32))
        edges = self.edges(numbered, "_key", CONTAINERS)
        step = pl.struct(
            type="to_type", id="to_id", relation="relation", valid_from="valid_from", valid_to="valid_to"
        ).struct.json_encode()
        so_far = pl.col("path").str.strip_suffix("]")
        return (
            numbered.join(edges, left_on="_key", right_on="row", suffix="_edge")
            .select(
                "row",
                "occurred_from",
                "occurred_to",
                resource_type="to_type",
                resource_id="to_id",
                path=pl.concat_str(
                    so_far, pl.when(so_far == "[").then(pl.lit("")).otherwise(pl.lit(",")), step, pl.lit("]")
                ),
            )
            .select("row", *QUESTION, "path")
        )


def _in_path(events: pl.DataFrame) -> pl.DataFrame:
    """The ids of other resources in the paths of requests: `row` and `QUESTION`, of no kind in particular."""
    some = events.filter(pl.col("request_path").is_not_null())
    return (
        some.select(
            "row",
            "occurred_from",
            "occurred_to",
            own="resource_id",
            resource_id=pl.col("request_path").str.extract_all(_ID),
        )
        .explode("resource_id")
        .filter(pl.col("resource_id").is_not_null() & (pl.col("resource_id") != pl.col("own")))
        .select("row", *QUESTION[1:], resource_type=pl.lit(None, pl.String))
        .unique()
        .select("row", *QUESTION)
    )


def with_names(connection: psycopg.Connection, cloud: str, facts: pl.DataFrame) -> pl.DataFrame:
    """Facts with the name that their resource had when it happened, where the record itself does not say it."""
    facts = facts.with_row_index("row")
    nameless = facts.filter(pl.col("resource_name").is_null())
    known = lookup.names_at(connection, _keys(nameless, cloud, "row"), lookup.pin(connection, cloud))
    names = known.select("row", _name="name").unique("row")
    joined = facts.join(names, on="row", how="left", maintain_order="left")
    return joined.with_columns(resource_name=pl.coalesce("resource_name", "_name")).drop("row", "_name")


def related_resources(events: pl.DataFrame) -> pl.DataFrame:
    """What the events' `related` names, one row each: `event_row`, `QUESTION`, `role`."""
    some = events.filter(pl.col("related").fill_null("[]") != "[]")
    items = some.select(
        "occurred_from", "occurred_to", event_row="row", item=pl.col("related").str.json_decode(_RELATED)
    )
    return (
        items.explode("item")
        .select(
            "event_row",
            "occurred_from",
            "occurred_to",
            resource_type=pl.col("item").struct.field("type"),
            resource_id=pl.col("item").struct.field("id"),
            role=pl.col("item").struct.field("role"),
        )
        .filter(pl.col("resource_id").is_not_null())
    )


def _owners(connection: psycopg.Connection, cloud: str, frames: list[pl.DataFrame], pin: datetime) -> pl.DataFrame:
    """The answer to every distinct question of the frames: `QUESTION` and the columns of `lookup.OWNERS`."""
    questions = pl.concat([frame.select(QUESTION) for frame in frames]).unique().with_row_index("row")
    answers = lookup.owners_at(connection, _keys(questions, cloud, "row"), pin).drop("resource_type")
    return questions.join(answers, on="row", how="inner").drop("row")


def _keys(questions: pl.DataFrame, cloud: str, row: str) -> pl.DataFrame:
    return questions.select(
        pl.col(row).cast(pl.UInt32).alias("row"),
        pl.lit(cloud).alias("cloud"),
        "resource_type",
        "resource_id",
        at_from="occurred_from",
        at_to="occurred_to",
    )


def _ids_of(connection: psycopg.Connection, cloud: CloudSettings, kind: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """The ids of what the configuration names by id, or by name within the service domain (at any time)."""
    named = read_frame(
        connection,
        """select distinct r.resource_id from topology.resources r
        join topology.ownership o using (cloud, resource_type, resource_id)
        where r.cloud = %(cloud)s and r.resource_type = %(kind)s and r.name = any(%(names)s)
          and o.domain_id = %(domain)s and r.recorded_to is null and o.recorded_to is null""",
        {"cloud": cloud.name, "kind": kind, "names": list(given), "domain": cloud.service_domain},
    )
    return tuple(sorted({*given, *named["resource_id"]}))
