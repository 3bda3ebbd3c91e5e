-- What existed, whose it was, what it hung on: bitemporal. `valid` is when it was so, `recorded` when we believed it.

create schema topology;
comment on schema topology is 'What existed, whose it was and what it hung on, with when it was so (valid) and when we believed it (recorded). Provider only.';
grant usage on schema topology to timeline_writer, timeline_provider;

-- The embedded PostgreSQL has no btree_gist: a range over text lets one gist index hold the key and the two periods. A
-- range over text cannot say how far apart two keys are, so that its tree decays with every batch; a range over the
-- key's hash comes before it and keeps the tree in order, and the text rules out that two hashes meet.
create type topology.textrange as range (subtype = text);

create function topology.hashed(key text) returns int8range
language sql immutable strict parallel safe
as $$ select int8range(hashtextextended(key, 0), hashtextextended(key, 0), '[]') $$;
comment on function topology.hashed(text) is 'The hash of a key as a range of one number, for exclusion constraints';

create table topology.claims (
    claim_id        bigint generated always as identity primary key,
    cloud           text not null,
    resource_type   text not null,
    resource_id     text not null,
    claim           text not null check (claim in ('created', 'seen', 'gone', 'owner', 'owner_since', 'edges', 'edge_since', 'edge_until')),
    at_from         timestamptz,
    at              timestamptz not null,
    name            text,
    project_id      text,
    domain_id       text,
    relation        text,
    to_type         text,
    to_ids          text[],
    source          text not null,
    raw_ref         text,
    claim_hash      uuid not null unique
);
create index claims_resource on topology.claims (resource_id, resource_type, cloud);
comment on table topology.claims is 'Every claim ever made about a resource, once; the set of them decides the intervals, in whatever order they came.';
comment on column topology.claims.claim_hash is 'md5 over what is claimed and by which source, not from which file: the same claim twice is one';
comment on column topology.claims.at_from is 'gone: in (at_from, at]; owner, seen, edges: the version before was still the truth then';

create table topology.resources (
    cloud           text not null,
    resource_type   text not null,
    resource_id     text not null,
    name            text,
    valid_from      timestamptz,
    valid_to        timestamptz,
    valid_to_from   timestamptz,
    recorded_from   timestamptz not null,
    recorded_to     timestamptz,
    raw_ref         text,
    check (valid_from is null or valid_to is null or valid_from <= valid_to)
);
comment on table topology.resources is 'A resource under one name for one period; a rename closes a row and opens the next.';
comment on column topology.resources.valid_from is 'Null: from the beginning';
comment on column topology.resources.valid_to is 'Null: still so; an inferred deletion lies in (valid_to_from, valid_to]';

create table topology.ownership (
    cloud           text not null,
    resource_type   text not null,
    resource_id     text not null,
    project_id      text,
    domain_id       text,
    valid_from      timestamptz,
    valid_to        timestamptz,
    valid_to_from   timestamptz,
    is_exact        boolean not null,
    ending          text check (ending in ('dated', 'changed', 'gone')),
    recorded_from   timestamptz not null,
    recorded_to     timestamptz,
    raw_ref         text,
    check (valid_from is null or valid_to is null or valid_from <= valid_to),
    check ((valid_to is null) = (ending is null) and (valid_to is null) = (valid_to_from is null)),
    check ((project_id is null) <> (domain_id is null))
);
comment on table topology.ownership is 'Who owned a resource for one period. Between two owners lies the period in which it is not known who did.';
comment on column topology.ownership.project_id is 'The owner, unless the resource belongs to a domain; a project''s own domain is its row of type project';
comment on column topology.ownership.valid_to_from is 'Proven until here; later than this only an inferred deletion reaches, up to valid_to';
comment on column topology.ownership.is_exact is 'valid_from is dated by the service, or the beginning; false where it is a time of observation';
comment on column topology.ownership.ending is 'dated: another''s from valid_to on; changed: proven until valid_to, then not known whose until the next row; gone: with the resource; null: still so';

create table topology.conflicts (
    cloud           text not null,
    resource_type   text not null,
    resource_id     text not null,
    project_ids     text[] not null,
    domain_ids      text[] not null,
    valid_from      timestamptz,
    valid_to        timestamptz,
    recorded_from   timestamptz not null,
    recorded_to     timestamptz,
    check (valid_from is null or valid_to is null or valid_from <= valid_to)
);
comment on table topology.conflicts is 'A period for which the claims about a resource''s owner contradict each other: nobody''s until a dated claim settles it.';
comment on column topology.conflicts.project_ids is 'The projects that were claimed';
comment on column topology.conflicts.domain_ids is 'The domains that were claimed';

create table topology.edges (
    cloud           text not null,
    from_type       text not null,
    from_id         text not null,
    relation        text not null,
    to_type         text not null,
    to_id           text not null,
    valid_from      timestamptz,
    valid_to        timestamptz,
    valid_to_from   timestamptz,
    ending          text check (ending in ('dated', 'changed', 'gone')),
    recorded_from   timestamptz not null,
    recorded_to     timestamptz,
    raw_ref         text,
    check (valid_from is null or valid_to is null or valid_from <= valid_to),
    check ((valid_to is null) = (ending is null) and (valid_to is null) = (valid_to_from is null))
);
comment on table topology.edges is 'What a resource hung on for one period: runs_on, attached, device, on_network, in_subnet, security_group, gateway, floating_port, of_volume, of_group.';
comment on column topology.edges.valid_from is 'When it was first observed, or began as dated';
comment on column topology.edges.valid_to_from is 'Proven until here; it ended in (valid_to_from, valid_to], or exactly at valid_to if they are equal';
comment on column topology.edges.ending is 'dated: exactly at valid_to; changed: another observation did not have it; gone: with the resource; null: still so';

create table topology.clock (
    cloud           text primary key,
    recorded_at     timestamptz not null
);
comment on table topology.clock is 'When the belief about each cloud last changed; strictly increases, so it is also the pin under which a resolution is replayed.';

create table topology.touched (
    cloud           text not null,
    resource_type   text not null,
    resource_id     text not null,
    changed_from    timestamptz,
    changed_to      timestamptz,
    recorded_at     timestamptz not null,
    primary key (cloud, resource_type, resource_id)
);
comment on table topology.touched is 'Resources whose name, owner or edges changed and whose events were not looked at since; the ownership stage takes them off.';
comment on column topology.touched.changed_from is 'The belief is another from this time on (null: from the beginning): earlier events are not concerned';
comment on column topology.touched.changed_to is 'The belief is another up to this time (null: without end)';

create table topology.touched_ends (
    cloud           text not null,
    resource_type   text not null,
    resource_id     text not null,
    changed_from    timestamptz,
    changed_to      timestamptz,
    recorded_at     timestamptz not null,
    primary key (cloud, resource_type, resource_id)
);
comment on table topology.touched_ends is 'Resources to which an edge began, ended or was corrected: like topology.touched, but of the far end. What was told to all that hung on such a resource is looked at again.';
comment on column topology.touched_ends.changed_from is 'The edges are others from this time on (null: from the beginning)';
comment on column topology.touched_ends.changed_to is 'The edges are others up to this time (null: without end)';

alter table topology.resources add constraint resources_one_name_at_a_time exclude using gist (
    topology.hashed(cloud || '/' || resource_type || '/' || resource_id) with &&,
    topology.textrange(cloud || '/' || resource_type || '/' || resource_id, cloud || '/' || resource_type || '/' || resource_id, '[]') with &&,
    tstzrange(valid_from, valid_to) with &&,
    tstzrange(recorded_from, recorded_to) with &&
);
alter table topology.ownership add constraint ownership_one_owner_at_a_time exclude using gist (
    topology.hashed(cloud || '/' || resource_type || '/' || resource_id) with &&,
    topology.textrange(cloud || '/' || resource_type || '/' || resource_id, cloud || '/' || resource_type || '/' || resource_id, '[]') with &&,
    tstzrange(valid_from, valid_to) with &&,
    tstzrange(recorded_from, recorded_to) with &&
);

-- Read at every resolution, as of now or of an earlier pin: by resource, and edges from both ends. Closed belief is
-- little beside the open, so one index serves both. The id comes first: a planner without statistics takes any index
-- that begins with a column it is given, and every row has the same cloud.
create index resources_resource on topology.resources (resource_id, resource_type, cloud);
create index resources_name on topology.resources (name, resource_type, cloud) where name is not null;
create index ownership_resource on topology.ownership (resource_id, resource_type, cloud);
create index ownership_project_now on topology.ownership (project_id, cloud) where recorded_to is null;
create index conflicts_resource on topology.conflicts (resource_id, resource_type, cloud);
create index edges_from on topology.edges (from_id, relation, cloud);
create index edges_to on topology.edges (to_id, relation, cloud);

do $$
declare t text;
begin
    foreach t in array array['claims', 'resources', 'ownership', 'conflicts', 'edges', 'clock', 'touched', 'touched_ends'] loop
        execute format('alter table topology.%I enable row level security', t);
        execute format('alter table topology.%I force row level security', t);
        execute format('create policy pipeline on topology.%I to timeline_writer using (true) with check (true)', t);
        execute format('create policy provider on topology.%I for select to timeline_provider using (true)', t);
    end loop;
end $$;
grant select, insert, update, delete on all tables in schema topology to timeline_writer;
grant select on topology.resources, topology.ownership, topology.conflicts, topology.edges to timeline_provider;
