-- What happened, in order: the provider's events, and each tenant's own rows, written already redacted.

create schema timeline;
comment on schema timeline is 'The timeline: events for the provider, tenant_events for each tenant, and what is known about both.';
grant usage on schema timeline to timeline_writer, timeline_provider, timeline_tenant;

create table timeline.events (
    event_id                uuid not null,
    cloud                   text not null,
    region                  text,
    source                  text not null,
    source_key              text not null,
    source_version          text not null,
    witnesses               jsonb not null,
    event_type              text not null,
    category                text not null,
    visibility              text not null,
    severity                smallint not null,
    source_severity         text,
    outcome                 text not null,
    phase                   text not null,
    occurred_at             timestamptz not null,
    occurred_from           timestamptz not null,
    occurred_to             timestamptz not null,
    time_precision          text not null,
    ended_at                timestamptz,
    observed_at             timestamptz not null,
    recorded_at             timestamptz not null,
    resource_type           text not null,
    resource_id             text not null,
    resource_name           text,
    related                 jsonb not null default '[]',
    changes                 jsonb not null default '[]',
    owner_scope             text not null,
    owner_domain_id         text,
    owner_project_id        text,
    actor_user_id           text,
    actor_project_id        text,
    actor_domain_id         text,
    actor_kind              text not null,
    on_behalf_of_user_id    text,
    on_behalf_of_project_id text,
    actor_address           text,
    request_id              text,
    global_request_id       text,
    host                    text,
    availability_zone       text,
    title                   text not null,
    message                 text,
    raw_ref                 text not null,
    raw_sha256              text not null,
    normalizer_version      text not null,
    primary key (event_id, occurred_at),
    constraint events_category check (category in ('monitoring', 'provisioning', 'migration', 'restore', 'backup', 'snapshot', 'security',
        'tenant', 'ticket', 'network', 'image', 'orchestration', 'sla', 'metering', 'runbook', 'provider')),
    constraint events_visibility check (visibility in ('operational', 'security', 'billing', 'system')),
    constraint events_severity check (severity between 0 and 5),
    constraint events_outcome check (outcome in ('success', 'failure', 'pending', 'unknown')),
    constraint events_phase check (phase in ('start', 'progress', 'end', 'error', 'point', 'state')),
    constraint events_precision check (time_precision in ('exact', 'second', 'interval')),
    constraint events_bounds check (occurred_from <= occurred_at and occurred_at <= occurred_to),
    constraint events_scope check (
        (owner_scope = 'project' and owner_project_id is not null)
        or (owner_scope = 'domain' and owner_domain_id is not null and owner_project_id is null)
        or (owner_scope in ('provider', 'quarantine') and owner_project_id is null and owner_domain_id is null)),
    constraint events_actor check (actor_kind in ('human', 'service', 'system', 'federated', 'app_credential', 'trust', 'unknown'))
) partition by range (occurred_at);
comment on table timeline.events is 'One row per event, for the provider: every fact once, whatever roads it came on.';
comment on column timeline.events.event_id is 'UUIDv5 of (cloud, source, source_key, source_version): the same fact always gives the same id';
comment on column timeline.events.cloud is 'The configured name of the cloud the event came from';
comment on column timeline.events.region is 'The region within the cloud, where the source says it';
comment on column timeline.events.source is 'The fact''s identity source, for example nova_instance_actions';
comment on column timeline.events.source_key is 'The fact''s natural key there';
comment on column timeline.events.source_version is 'Which fact of that record';
comment on column timeline.events.witnesses is 'Every road the fact arrived on: [{source, key, observed_at}], sorted';
comment on column timeline.events.event_type is '<service>.<resource>.<action>[.<phase>]';
comment on column timeline.events.category is 'What kind of thing happened: provisioning, network, security, backup, …';
comment on column timeline.events.visibility is 'Which readers may see it at all: operational, security, billing, system';
comment on column timeline.events.severity is 'OCSF: 1 informational, 2 low, 3 medium, 4 high, 5 critical; 0 unknown';
comment on column timeline.events.source_severity is 'The severity as the source said it';
comment on column timeline.events.outcome is 'success, failure, pending or unknown';
comment on column timeline.events.phase is 'start, progress, end, error, point or state; a span is one row that goes from start to end or error';
comment on column timeline.events.occurred_at is 'Best estimate of when it happened, never when it was harvested';
comment on column timeline.events.occurred_from is 'Lower bound of that estimate';
comment on column timeline.events.occurred_to is 'Upper bound of that estimate';
comment on column timeline.events.time_precision is 'exact, second or interval (derived from two scans)';
comment on column timeline.events.ended_at is 'For spans: when it ended';
comment on column timeline.events.observed_at is 'When it was first fetched';
comment on column timeline.events.recorded_at is 'When this row was committed as it is now';
comment on column timeline.events.resource_type is 'Kind of the primary target: server, volume, port, …';
comment on column timeline.events.resource_id is 'Id of the primary target';
comment on column timeline.events.resource_name is 'Its name as it was at the time';
comment on column timeline.events.related is 'Other resources: [{type, id, role}], role one of affected, related, host, container';
comment on column timeline.events.changes is 'What changed where known: [{path, old, new}]';
comment on column timeline.events.owner_scope is 'project, domain, provider, or quarantine: the owner is not proven';
comment on column timeline.events.owner_domain_id is 'The domain of whoever owned the target when it happened';
comment on column timeline.events.owner_project_id is 'The project that owned the target when it happened';
comment on column timeline.events.actor_user_id is 'Who did it; never a source of ownership';
comment on column timeline.events.actor_project_id is 'The project the actor worked in';
comment on column timeline.events.actor_domain_id is 'The actor''s domain';
comment on column timeline.events.actor_kind is 'human, service, system, federated, app_credential, trust or unknown';
comment on column timeline.events.on_behalf_of_user_id is 'For whom the actor acted (delegation), where the record says so';
comment on column timeline.events.on_behalf_of_project_id is 'The project of whom the actor acted for';
comment on column timeline.events.actor_address is 'The address the request came from';
comment on column timeline.events.request_id is 'The service''s own request id';
comment on column timeline.events.global_request_id is 'The request id that crosses services';
comment on column timeline.events.host is 'The host it happened on; provider only';
comment on column timeline.events.availability_zone is 'The zone it happened in; provider only';
comment on column timeline.events.title is 'One line a person can read in an incident';
comment on column timeline.events.message is 'Redacted detail';
comment on column timeline.events.raw_ref is 'Where the record as sent lies: file of the raw store # row';
comment on column timeline.events.raw_sha256 is 'Hash of that record (scrubbed, canonical JSON)';
comment on column timeline.events.normalizer_version is 'Which version of the normalizer wrote this';

create index events_newest on timeline.events (occurred_at desc, event_id desc);
create index events_resource on timeline.events (resource_id, occurred_at desc);
create index events_owner on timeline.events (owner_project_id, occurred_at desc) where owner_project_id is not null;
create index events_request on timeline.events (request_id) where request_id is not null;
create index events_global_request on timeline.events (global_request_id) where global_request_id is not null;

create table timeline.event_keys (
    event_id            uuid primary key,
    occurred_at         timestamptz not null,
    cloud               text not null,
    road_source         text not null,
    road_key            text not null,
    roads               smallint not null default 1,
    payload_project_id  text,
    payload_domain_id   text,
    target_project_id   text,
    target_domain_id    text,
    request_path        text,
    named_type          text,
    named_name          text,
    named_domain        text,
    filled              text[] not null default '{}',
    attribution         integer not null,
    rule                text not null,
    confidence          text not null
);
comment on table timeline.event_keys is 'The head of each event: which month''s partition holds it, what its record proves of its owner, and its newest attribution. Keeps the id unique when a better estimate moves the event.';
comment on column timeline.event_keys.filled is 'Columns of the event that its record left open, filled from what is known beside it: they are asked for anew when the event is decided again';

create table timeline.contributions (
    event_id        uuid not null,
    road_source     text not null,
    road_key        text not null,
    observed_at     timestamptz not null,
    fact            jsonb not null,
    primary key (event_id, road_source, road_key)
);
comment on table timeline.contributions is 'What each road said of an event that came on more than one: their merge is the event, in whatever order they arrived.';

create table timeline.attributions (
    event_id                uuid not null,
    version                 integer not null,
    valid_at                timestamptz not null,
    owner_scope             text not null,
    owner_domain_id         text,
    owner_project_id        text,
    rule                    text not null,
    confidence              text not null check (confidence in ('certain', 'high', 'medium', 'none')),
    path                    jsonb not null default '[]',
    evidence                jsonb not null default '{}',
    topology_recorded_at    timestamptz not null,
    reason                  text not null,
    run_id                  text,
    decided_at              timestamptz not null default now(),
    primary key (event_id, version, valid_at)
) partition by range (valid_at);
comment on table timeline.attributions is 'One decision whose event it is; append-only, the newest version is the one believed.';
comment on column timeline.attributions.rule is 'The rule of ownership that decided; none where no rule could';
comment on column timeline.attributions.path is 'The way through the topology: [{type, id, relation, valid_from, valid_to}]';
comment on column timeline.attributions.evidence is 'What the rule read: column and value, or the record behind an interval';
comment on column timeline.attributions.valid_at is 'The time the owner was asked for: the event''s';
comment on column timeline.attributions.topology_recorded_at is 'The belief about the topology that was used: replay reads the same';

create table timeline.quarantine (
    event_id        uuid primary key,
    cloud           text not null,
    source          text not null,
    occurred_at     timestamptz not null,
    reason          text not null check (reason in ('NO_EVIDENCE', 'TOPOLOGY_GAP', 'CONFLICT', 'INTERVAL_OVERLAP', 'AMBIGUOUS_NAME')),
    detail          text not null,
    candidates      jsonb not null default '[]',
    first_seen      timestamptz not null default now(),
    attempts        integer not null default 1,
    resolved_at     timestamptz
);
create index quarantine_open on timeline.quarantine (cloud, reason) where resolved_at is null;
comment on table timeline.quarantine is 'Events whose owner is not proven, with what would release them; a released one keeps its row with resolved_at.';

create table timeline.awaits (
    cloud           text not null,
    resource_id     text not null,
    event_id        uuid not null,
    occurred_at     timestamptz not null,
    primary key (cloud, resource_id, event_id)
);
comment on table timeline.awaits is 'What besides its target would change an event: how late evidence finds the events it concerns.';
comment on column timeline.awaits.resource_id is 'A resource; or request:<service>/<id>, request:global/<id> (another event of the request), name:<kind>/<name> (whoever is called so), scan:<source> (a later complete scan)';

create table timeline.walked (
    cloud           text not null,
    resource_id     text not null,
    event_id        uuid not null,
    occurred_from   timestamptz not null,
    occurred_to     timestamptz not null,
    primary key (cloud, resource_id, event_id)
);
comment on table timeline.walked is 'What was passed on the way from an event to those whom it affected: how late evidence finds the events that concern others, too.';

create table timeline.affected (
    event_id            uuid not null,
    tenant_project_id   text not null,
    tenant_domain_id    text,
    affected_id         uuid not null unique,
    occurred_at         timestamptz not null,
    related             jsonb not null,
    confidence          text not null check (confidence in ('high', 'medium')),
    version             integer not null,
    is_current          boolean not null,
    primary key (event_id, tenant_project_id)
);
comment on table timeline.affected is 'Whom an event concerned beside its owner, for the provider: which event stands behind a tenant''s row of relation affected.';
comment on column timeline.affected.affected_id is 'The id of the tenant''s row: an HMAC of event and project under a secret of this deployment; its attributions have the same id';
comment on column timeline.affected.occurred_at is 'The time in the tenant''s row: the event''s, to the minute';
comment on column timeline.affected.related is 'The tenant''s own resources that the event concerned: [{type, id, role}]';
comment on column timeline.affected.version is 'Number of the newest attribution of this row';
comment on column timeline.affected.is_current is 'False: the row was taken back';

create table timeline.taken_back (
    event_id        uuid primary key,
    occurred_at     timestamptz not null,
    version         integer not null
);
comment on table timeline.taken_back is 'Events and affected rows that no record gave any more: if one comes again, its attributions are numbered on from here.';
comment on column timeline.taken_back.version is 'Number of its last attribution';

create table timeline.tenant_events (
    event_id            uuid not null,
    cloud               text not null,
    region              text,
    tenant_domain_id    text,
    tenant_project_id   text,
    relation            text not null check (relation in ('owner', 'affected')),
    visibility          text not null,
    event_type          text not null,
    category            text not null,
    severity            smallint not null,
    outcome             text not null,
    phase               text not null,
    occurred_at         timestamptz not null,
    occurred_from       timestamptz not null,
    occurred_to         timestamptz not null,
    time_precision      text not null,
    ended_at            timestamptz,
    recorded_at         timestamptz not null,
    resource_type       text not null,
    resource_id         text not null,
    resource_name       text,
    related             jsonb not null default '[]',
    changes             jsonb not null default '[]',
    actor_user_id       text,
    actor_label         text not null,
    request_id          text,
    title               text not null,
    message             text,
    check (tenant_domain_id is not null or tenant_project_id is not null)
) partition by range (occurred_at);
create unique index tenant_events_key on timeline.tenant_events (event_id, tenant_project_id, tenant_domain_id, occurred_at) nulls not distinct;
create index tenant_events_newest on timeline.tenant_events (tenant_project_id, occurred_at desc, event_id desc);
create index tenant_events_domain on timeline.tenant_events (tenant_domain_id, occurred_at desc);
create index tenant_events_resource on timeline.tenant_events (resource_id, occurred_at desc);
comment on table timeline.tenant_events is 'One event as one tenant may see it: already redacted, under row security.';
comment on column timeline.tenant_events.event_id is 'The event''s id; of an affected row one of its own';
comment on column timeline.tenant_events.tenant_domain_id is 'The domain of the tenant that sees this row; null while its domain is unknown';
comment on column timeline.tenant_events.tenant_project_id is 'The project that sees this row; null for a domain''s own events';
comment on column timeline.tenant_events.relation is 'owner: it happened to something of the tenant''s; affected: something of the provider''s that the tenant''s resources hung on';
comment on column timeline.tenant_events.actor_user_id is 'The acting user, where the tenant may know it';
comment on column timeline.tenant_events.actor_label is 'Who did it, as the tenant may know it: user, service, system, or provider operator';

create table timeline.tenant_changes (
    sequence            bigint generated always as identity,
    cloud               text not null,
    tenant_domain_id    text,
    tenant_project_id   text,
    operation           text not null check (operation in ('upsert', 'retract')),
    event_id            uuid not null,
    visibility          text not null,
    changed_at          timestamptz not null default now(),
    primary key (sequence)
);
create index tenant_changes_scope on timeline.tenant_changes (tenant_project_id, sequence);
comment on table timeline.tenant_changes is 'Append-only, per tenant: what to insert or take back; feeds streams and exports. A retraction carries the id only.';

create table timeline.coverage (
    cloud                   text not null,
    source                  text not null,
    service                 text not null,
    window_start            timestamptz not null,
    window_end              timestamptz not null,
    status                  text not null check (status in ('proven', 'settling', 'open', 'gap', 'unknown')),
    reason                  text,
    detail                  text,
    rows                    bigint not null default 0,
    attempts                integer not null default 0,
    last_attempt_at         timestamptz,
    last_success_at         timestamptz,
    proven_to               timestamptz,
    first_scan_at           timestamptz,
    last_scan_at            timestamptz,
    largest_gap_seconds     double precision,
    resolution_seconds      double precision,
    primary key (cloud, source, window_start)
);
create index coverage_service on timeline.coverage (cloud, service, window_start);
create index coverage_open on timeline.coverage (cloud, source, window_start) where status in ('settling', 'open', 'gap');
comment on table timeline.coverage is 'What is known about one window of one source: harvested is not proven, no data is not the same as nothing happened.';
comment on column timeline.coverage.service is 'The source''s service, under which tenants are told of its coverage';
comment on column timeline.coverage.status is 'proven, settling (read, second read due), open (the hour is not over), gap (see reason), unknown (never read, or the source keeps no history)';
comment on column timeline.coverage.reason is 'Stable code of why it is a gap or unknown';
comment on column timeline.coverage.rows is 'Records stored for this window';
comment on column timeline.coverage.proven_to is 'Source time up to which this window was read';
comment on column timeline.coverage.resolution_seconds is 'For sources compared scan by scan: what came and went within this time was not seen';

create table timeline.tenant_coverage (
    cloud           text not null,
    service         text not null,
    window_start    timestamptz not null,
    window_end      timestamptz not null,
    status          text not null,
    primary key (cloud, service, window_start)
);
comment on table timeline.tenant_coverage is 'What a tenant may know of coverage: per service and window the least that is known of its sources.';

-- Partitions. The writer may ask for one; it belongs to the owner and no reader has any right on it.
create function timeline.ensure_partition(instant timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog
as $$
declare
    first timestamptz := date_trunc('month', instant, 'UTC');
    last timestamptz := date_trunc('month', instant, 'UTC') + interval '1 month';
    suffix text := to_char(first at time zone 'UTC', 'YYYY_MM');
    parent text;
begin
    last := ((first at time zone 'UTC') + interval '1 month') at time zone 'UTC';
    foreach parent in array array['events', 'tenant_events', 'attributions'] loop
        if to_regclass(format('timeline.%I', parent || '_' || suffix)) is null then
            perform pg_advisory_xact_lock(hashtext('timeline.ensure_partition'));
            execute format('create table if not exists timeline.%I partition of timeline.%I for values from (%L) to (%L)',
                           parent || '_' || suffix, parent, first, last);
            execute format('alter table timeline.%I enable row level security', parent || '_' || suffix);
            execute format('alter table timeline.%I force row level security', parent || '_' || suffix);
        end if;
    end loop;
end $$;
comment on function timeline.ensure_partition(timestamptz) is 'Makes the month''s partitions of events, tenant_events and attributions if they are not there.';
revoke all on function timeline.ensure_partition(timestamptz) from public;
grant execute on function timeline.ensure_partition(timestamptz) to timeline_writer;

create function timeline.drop_partitions_before(horizon timestamptz) returns text[]
language plpgsql security definer set search_path = pg_catalog
as $$
declare
    dropped text[] := '{}';
    t record;
begin
    for t in
        select c.oid::regclass::text as name
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent in ('timeline.events'::regclass, 'timeline.tenant_events'::regclass, 'timeline.attributions'::regclass)
          and (substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)'))::timestamptz <= horizon
    loop
        execute 'drop table ' || t.name;
        dropped := dropped || t.name;
    end loop;
    return dropped;
end $$;
comment on function timeline.drop_partitions_before(timestamptz) is 'Retention: drops the months that end at or before the horizon; returns their names.';
revoke all on function timeline.drop_partitions_before(timestamptz) from public;
grant execute on function timeline.drop_partitions_before(timestamptz) to timeline_writer;

-- Row security, forced everywhere: the owner is no exception, and a table without a policy shows nothing.
do $$
declare t text;
begin
    foreach t in array array['events', 'event_keys', 'contributions', 'attributions', 'quarantine', 'awaits', 'walked', 'affected', 'taken_back', 'tenant_events',
                             'tenant_changes', 'coverage', 'tenant_coverage'] loop
        execute format('alter table timeline.%I enable row level security', t);
        execute format('alter table timeline.%I force row level security', t);
        execute format('create policy pipeline on timeline.%I to timeline_writer using (true) with check (true)', t);
        execute format('grant select, insert, update, delete on timeline.%I to timeline_writer', t);
    end loop;
    revoke update, delete on timeline.attributions, timeline.tenant_changes from timeline_writer; -- append-only
    foreach t in array array['coverage', 'tenant_coverage'] loop
        execute format('create policy provider on timeline.%I for select to timeline_provider using (true)', t);
        execute format('grant select on timeline.%I to timeline_provider', t);
    end loop;
    -- A security reader is a provider reader with more to see.
    foreach t in array array['events', 'tenant_events', 'tenant_changes'] loop
        execute format('create policy provider on timeline.%I for select to timeline_provider using (visibility in (''operational'', ''billing'', ''system''))', t);
        execute format('create policy security on timeline.%I for select to timeline_security using (true)', t);
        execute format('grant select on timeline.%I to timeline_provider', t);
    end loop;
    -- What is known beside an event is for those whom the event is for: the policy of events holds in here, too.
    foreach t in array array['contributions', 'affected'] loop
        execute format('create policy provider on timeline.%I for select to timeline_provider using (
            exists (select from timeline.events e where e.event_id = %I.event_id))', t, t);
        execute format('grant select on timeline.%I to timeline_provider', t);
    end loop;
    -- An affected row has attributions of its own.
    create policy provider on timeline.attributions for select to timeline_provider using (
        exists (select from timeline.events e where e.event_id = attributions.event_id)
        or exists (select from timeline.affected a where a.affected_id = attributions.event_id));
    grant select on timeline.attributions to timeline_provider;
    -- An event that is still in quarantine has the time that is said here, which spares the other months.
    create policy provider on timeline.quarantine for select to timeline_provider using (
        exists (select from timeline.events e
                where e.event_id = quarantine.event_id and e.occurred_at = quarantine.occurred_at)
        or resolved_at is not null and exists (select from timeline.events e where e.event_id = quarantine.event_id));
    grant select on timeline.quarantine to timeline_provider;
end $$;

-- A login that reads one project is in timeline_project_reader: one value, so the index gives its newest rows in order.
-- One that reads several or whole domains is in timeline_scope_reader. No login is in both.
create policy project on timeline.tenant_events for select to timeline_project_reader using (
    visibility = 'operational'
    and tenant_project_id = (select access.my_project())
    and cloud = (select access.my_cloud()));
create policy scope on timeline.tenant_events for select to timeline_scope_reader using (
    visibility = 'operational'
    and (cloud || '/' || tenant_project_id = any ((select access.my_projects())::text[])
         or cloud || '/' || tenant_domain_id = any ((select access.my_domains())::text[])));
create policy project on timeline.tenant_changes for select to timeline_project_reader using (
    visibility = 'operational'
    and tenant_project_id = (select access.my_project())
    and cloud = (select access.my_cloud()));
create policy scope on timeline.tenant_changes for select to timeline_scope_reader using (
    visibility = 'operational'
    and (cloud || '/' || tenant_project_id = any ((select access.my_projects())::text[])
         or cloud || '/' || tenant_domain_id = any ((select access.my_domains())::text[])));
create policy tenant on timeline.tenant_coverage for select to timeline_tenant using (
    cloud = any ((select access.my_clouds())::text[]));

-- Column by column: a right on the whole table reaches the columns of the system too, and by xmin and ctid two tenants
-- could find out that rows of theirs were written together.
do $$
declare t text;
begin
    foreach t in array array['tenant_events', 'tenant_changes', 'tenant_coverage'] loop
        execute (select format('grant select (%s) on timeline.%I to timeline_tenant', string_agg(quote_ident(attname), ', ' order by attnum), t)
                 from pg_attribute where attrelid = format('timeline.%I', t)::regclass and attnum > 0 and not attisdropped);
    end loop;
end $$;
