-- Who may read what. A scope is bound to the login role; a reader can change no setting that widens it.

create schema access;
comment on schema access is 'Which login reads what. Functions here answer for the login that asks and for nobody else.';

create table access.grants (
    grant_id        bigint generated always as identity primary key,
    login           name not null,
    kind            text not null check (kind in ('provider', 'security', 'domain', 'project', 'subtree')),
    cloud           text,
    scope_id        text,
    granted_at      timestamptz not null default now(),
    granted_by      name not null default session_user,
    revoked_at      timestamptz,
    revoked_by      name,
    check ((kind in ('provider', 'security')) = (scope_id is null)),
    check (scope_id is null or cloud is not null)
);
create unique index grants_open on access.grants (login, kind, cloud, scope_id) nulls not distinct where revoked_at is null;
comment on table access.grants is 'One grant of one scope to one login; a revoked one is kept: the table is its own audit.';
comment on column access.grants.scope_id is 'A project''s id (project, subtree) or a domain''s (domain); null for the provider''s and the security reader''s';

create table access.projects (
    login           name not null,
    cloud           text not null,
    project_id      text not null,
    primary key (login, cloud, project_id)
);
comment on table access.projects is 'The projects that a login''s grants come to now; kept by timeline.db grant and by the topology stage for subtrees.';

create table access.secrets (
    name            text primary key,
    secret          bytea not null
);
comment on table access.secrets is 'Secrets of this deployment, for the pipeline alone. They are made with the database and live as long as it does.';
comment on column access.secrets.name is 'affected: the key under which the ids of affected rows are made; with another key every such id is another';
-- three random uuids hold 366 random bits; the server has no other source of them without an extension
insert into access.secrets values
    ('affected', sha256((gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text)::bytea));

alter table access.secrets enable row level security;
alter table access.secrets force row level security;
create policy pipeline on access.secrets for select to timeline_writer using (true);
grant select on access.secrets to timeline_writer;
alter table access.grants enable row level security;
alter table access.grants force row level security;
alter table access.projects enable row level security;
alter table access.projects force row level security;
create policy keeper on access.grants to timeline_owner using (true) with check (true);
create policy pipeline on access.grants for select to timeline_writer using (true);
create policy keeper on access.projects to timeline_owner using (true) with check (true);
create policy pipeline on access.projects to timeline_writer using (true) with check (true);
grant select on access.grants to timeline_writer;
grant select, insert, delete on access.projects to timeline_writer;

-- The functions run as their owner and look at session_user, which SET ROLE does not change.
create function access.my_cloud() returns text
language sql stable security definer set search_path = pg_catalog
as $$ select min(cloud) from access.projects where login = session_user having count(*) = 1 $$;
comment on function access.my_cloud() is 'The cloud of a login that reads exactly one project; null for any other';

create function access.my_project() returns text
language sql stable security definer set search_path = pg_catalog
as $$ select min(project_id) from access.projects where login = session_user having count(*) = 1 $$;
comment on function access.my_project() is 'The project of a login that reads exactly one; null for any other. One value lets an index give the newest rows in order';

create function access.my_projects() returns text[]
language sql stable security definer set search_path = pg_catalog
as $$ select coalesce(array_agg(cloud || '/' || project_id), '{}') from access.projects where login = session_user $$;
comment on function access.my_projects() is 'cloud/project of every project that the login may read';

create function access.my_domains() returns text[]
language sql stable security definer set search_path = pg_catalog
as $$ select coalesce(array_agg(cloud || '/' || scope_id), '{}') from access.grants
      where login = session_user and kind = 'domain' and revoked_at is null $$;
comment on function access.my_domains() is 'cloud/domain of every domain that the login may read';

create function access.my_clouds() returns text[]
language sql stable security definer set search_path = pg_catalog
as $$ select coalesce(array_agg(distinct cloud), '{}') from (
        select cloud from access.projects where login = session_user
        union select cloud from access.grants where login = session_user and kind = 'domain' and revoked_at is null) mine $$;
comment on function access.my_clouds() is 'Every cloud in which the login may read anything';

revoke all on function access.my_cloud(), access.my_project(), access.my_projects(), access.my_domains(), access.my_clouds() from public;
grant usage on schema access to timeline_tenant, timeline_writer;
grant execute on function access.my_cloud(), access.my_project(), access.my_projects(), access.my_domains(), access.my_clouds() to timeline_tenant;
