-- The raw stage: what was fetched, which file holds it, what is proven. Nothing of it is for tenants.

create schema raw;
comment on schema raw is 'What was fetched and where it lies: attempts, latest records, scans, records set aside. Pipeline only.';
grant usage on schema raw to timeline_writer;

create table raw.store (
    is_only         boolean primary key default true check (is_only),
    store_id        uuid not null default gen_random_uuid()
);
comment on table raw.store is 'Which raw store is this database''s: its file timeline-store-id holds the same id. Another''s is refused.';

create table raw.scans (
    cloud               text not null,
    source              text not null,
    last_attempt_at     timestamptz,
    last_success_at     timestamptz,
    last_complete_from  timestamptz,
    last_complete_at    timestamptz,
    first_complete_at   timestamptz,
    read_to             timestamptz,
    requests            bigint not null default 0,
    failures            integer not null default 0,
    reason              text,
    detail              text,
    cursor              jsonb not null default '{}',
    primary key (cloud, source)
);
comment on table raw.scans is 'One row per cloud and source: where its reading stands. Updated in place, so that polling an idle cloud stores nothing new.';
comment on column raw.scans.last_complete_from is 'When the last read that may prove a deletion was begun: what it showed was so at this time or later';
comment on column raw.scans.last_complete_at is 'When that read was finished; the source''s time, like the other two';
comment on column raw.scans.read_to is 'Source time up to which the source was read successfully';
comment on column raw.scans.failures is 'Failed reads in a row; drives the back-off';
comment on column raw.scans.reason is 'Stable code of the last failure; null after a success';
comment on column raw.scans.cursor is 'What the source itself remembers between fetches: probe results, position of its sweep';

create table raw.latest (
    cloud           text not null,
    source          text not null,
    key             text not null,
    sha256          text not null,
    body            text not null,
    cursor_at       timestamptz not null,
    observed_at     timestamptz not null,
    missing_from    timestamptz,
    missing_since   timestamptz,
    gone_at         timestamptz,
    ended_at        timestamptz,
    raw_ref         text not null,
    primary key (cloud, source, key)
);
create index latest_observed on raw.latest (cloud, source, observed_at);
comment on table raw.latest is 'The newest version of every record: what the next observation is compared with.';
comment on column raw.latest.missing_from is 'The last time it was there, as far as is known';
comment on column raw.latest.missing_since is 'The first complete scan that did not have it; a second one in a row makes it gone';
comment on column raw.latest.ended_at is 'When it was over by its own word, of sources whose listings never show what is gone: a deleted server, a past migration';

create table raw.attempts (
    attempt_id      bigint generated always as identity primary key,
    cloud           text not null,
    source          text not null,
    window_start    timestamptz not null,
    path            text not null unique,
    rows            integer not null,
    bytes           bigint not null,
    sealed_from     bigint[],
    replaced_by     bigint,
    committed_at    timestamptz not null default now(),
    facts_path      text,
    evidence_path   text,
    normalizer      text,
    normalized_at   timestamptz,
    absorbed_at     timestamptz,
    resolved_at     timestamptz
);
create index attempts_window on raw.attempts (cloud, source, window_start);
create index attempts_pending on raw.attempts (cloud, window_start) where resolved_at is null;
comment on table raw.attempts is 'One immutable Parquet file of observations; a file without a row here was never committed and counts for nothing. The three times are the work queue of the stages behind.';
comment on column raw.attempts.sealed_from is 'The attempts that this file compacts, when its window was sealed';
comment on column raw.attempts.facts_path is 'The normalized facts of this attempt; derived, can be made again';

create table raw.set_aside (
    cloud           text not null,
    source          text not null,
    sha256          text not null,
    stage           text not null check (stage in ('harvest', 'normalize')),
    reason          text not null,
    detail          text not null,
    key             text,
    body            text not null,
    window_start    timestamptz not null,
    first_seen_at   timestamptz not null,
    last_seen_at    timestamptz not null,
    seen            integer not null default 1,
    resolved_at     timestamptz,
    primary key (cloud, source, sha256, stage)
);
comment on table raw.set_aside is 'Records that could not be read or normalized: kept, counted and shown, never in the way of the others.';

grant select, insert, update, delete on all tables in schema raw to timeline_writer;
