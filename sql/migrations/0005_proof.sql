-- What is kept of the proofs: when the timeline was verified and what it was then, and up to where it was dropped.

create table timeline.verifications (
    verification_id bigint generated always as identity primary key,
    cloud           text not null,
    verified_at     timestamptz not null,
    raw             text not null,
    ruleset         text not null,
    hash            text not null,
    faults          integer not null,
    tables          jsonb not null
);
create index verifications_same on timeline.verifications (cloud, raw, ruleset, verified_at);
comment on table timeline.verifications is 'What a cloud''s timeline came to when it was verified: equal raw records and rules must give equal hashes.';
comment on column timeline.verifications.raw is 'Which raw records it was made from';
comment on column timeline.verifications.ruleset is 'Which code and configuration decided';
comment on column timeline.verifications.hash is 'Over everything that was believed, without what a run leaves on it';
comment on column timeline.verifications.faults is 'Invariants that did not hold';
comment on column timeline.verifications.tables is 'Rows and hash of each part of each table: {table: {part: [rows, hash]}}';

create table timeline.retention (
    is_only         boolean primary key default true check (is_only),
    dropped_before  timestamptz not null
);
comment on table timeline.retention is 'Up to where months of the timeline were dropped: an event from before is not made again.';

create table raw.rebuilds (
    cloud           text primary key,
    ruleset         text not null,
    begun_at        timestamptz not null,
    topology_at     timestamptz
);
comment on table raw.rebuilds is 'Rebuilds under way, or interrupted: what was normalized before begun_at is normalized anew, the topology once.';
grant select, insert, update, delete on raw.rebuilds to timeline_writer;

do $$
declare t text;
begin
    foreach t in array array['verifications', 'retention'] loop
        execute format('alter table timeline.%I enable row level security', t);
        execute format('alter table timeline.%I force row level security', t);
        execute format('create policy pipeline on timeline.%I to timeline_writer using (true) with check (true)', t);
        execute format('create policy provider on timeline.%I for select to timeline_provider using (true)', t);
        execute format('grant select, insert, update, delete on timeline.%I to timeline_writer', t);
        execute format('grant select on timeline.%I to timeline_provider', t);
    end loop;
end $$;
