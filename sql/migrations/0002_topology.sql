-- What existed, whose it was, what it hung on: bitemporal. `valid` is when it was so, `recorded` when we believed it.

create schema topology;
comment on schema topology is 'What existed, whose it was and what it hung on, with when it was so (valid) and when we believed it (recorded). Provider only.';
grant usage on schema topology to timeline_writer, timeline_provider;

-- The embedded PostgreSQL has no btree_gist: a range over text lets one gist index hold the key and the two periods.
create type topology.textrange as range (subtype = text);

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
create index claims_resource on topology.claims (cloud, resource_type, resource_id);
comment on table topology.claims is 'Every claim ever made about a resource, once; the set of them decides the intervals, in whatever order they came.';
comment on column topology.claims.claim_hash is 'md5 over what is claimed (not by whom or from which file): the same claim twice is one';

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
    is_exact        boolean not null,
    recorded_from   timestamptz not null,
    recorded_to     timestamptz,
    raw_ref         text,
    check (valid_from is null or valid_to is null or valid_from <= valid_to)
);
comment on table topology.ownership is 'Who owned a resource for one period. Between two owners lies the period in which it is not known who did.';
comment on column topology.ownership.is_exact is 'Both known bounds are dated by the service; false where they are times of observation';

create table topology.edges (
    cloud           text not null,
    from_type       text not null,
    from_id         text not null,
    relation        text not null,
    to_type         text not null,
    to_id           text not null,
    valid_from      timestamptz,
    valid_to        timestamptz,
    recorded_from   timestamptz not null,
    recorded_to     timestamptz,
    raw_ref         text,
    check (valid_from is null or valid_to is null or valid_from <= valid_to)
);
comment on table topology.edges is 'What a resource hung on for one period: runs_on, attached, device, on_network, in_subnet, security_group, gateway, floating_port, of_volume, of_group.';

alter table topology.resources add constraint resources_one_name_at_a_time exclude using gist (
    topology.textrange(cloud || '/' || resource_type || '/' || resource_id, cloud || '/' || resource_type || '/' || resource_id, '[]') with &&,
    tstzrange(valid_from, valid_to) with &&,
    tstzrange(recorded_from, recorded_to) with &&
);
alter table topology.ownership add constraint ownership_one_owner_at_a_time exclude using gist (
    topology.textrange(cloud || '/' || resource_type || '/' || resource_id, cloud || '/' || resource_type || '/' || resource_id, '[]') with &&,
    tstzrange(valid_from, valid_to) with &&,
    tstzrange(recorded_from, recorded_to) with &&
);

-- Belief of now, read at every resolution: by resource, and edges from both ends.
create index resources_now on topology.resources (cloud, resource_id, resource_type) where recorded_to is null;
create index resources_name_now on topology.resources (cloud, resource_type, name) where recorded_to is null;
create index ownership_now on topology.ownership (cloud, resource_id, resource_type) where recorded_to is null;
create index ownership_project_now on topology.ownership (cloud, project_id) where recorded_to is null;
create index edges_now on topology.edges (cloud, from_id, relation) where recorded_to is null;
create index edges_back_now on topology.edges (cloud, to_id, relation) where recorded_to is null;

do $$
declare t text;
begin
    foreach t in array array['claims', 'resources', 'ownership', 'edges'] loop
        execute format('alter table topology.%I enable row level security', t);
        execute format('alter table topology.%I force row level security', t);
        execute format('create policy pipeline on topology.%I to timeline_writer using (true) with check (true)', t);
        execute format('create policy provider on topology.%I for select to timeline_provider using (true)', t);
    end loop;
end $$;
grant select, insert, update, delete on all tables in schema topology to timeline_writer;
grant select on topology.resources, topology.ownership, topology.edges to timeline_provider;
