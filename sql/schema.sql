-- What the migrations result in. Generated: python -m timeline_assets.store.schema

CREATE SCHEMA access;

ALTER SCHEMA access OWNER TO timeline_owner;

COMMENT ON SCHEMA access IS 'Which login reads what. Functions here answer for the login that asks and for nobody else.';

CREATE SCHEMA raw;

ALTER SCHEMA raw OWNER TO timeline_owner;

COMMENT ON SCHEMA raw IS 'What was fetched and where it lies: attempts, latest records, scans, records set aside. Pipeline only.';

CREATE SCHEMA timeline;

ALTER SCHEMA timeline OWNER TO timeline_owner;

COMMENT ON SCHEMA timeline IS 'The timeline: events for the provider, tenant_events for each tenant, and what is known about both.';

CREATE SCHEMA timeline_meta;

ALTER SCHEMA timeline_meta OWNER TO timeline_owner;

COMMENT ON SCHEMA timeline_meta IS 'What the database knows of itself: the migrations it has been through.';

CREATE SCHEMA topology;

ALTER SCHEMA topology OWNER TO timeline_owner;

COMMENT ON SCHEMA topology IS 'What existed, whose it was and what it hung on, with when it was so (valid) and when we believed it (recorded). Provider only.';

CREATE TYPE topology.textrange AS RANGE (
    subtype = text,
    multirange_type_name = topology.textmultirange
);

ALTER TYPE topology.textrange OWNER TO timeline_owner;

CREATE FUNCTION access.my_cloud() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$ select min(cloud) from access.projects where login = session_user having count(*) = 1 $$;

ALTER FUNCTION access.my_cloud() OWNER TO timeline_owner;

COMMENT ON FUNCTION access.my_cloud() IS 'The cloud of a login that reads exactly one project; null for any other';

CREATE FUNCTION access.my_clouds() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$ select coalesce(array_agg(distinct cloud), '{}') from (
        select cloud from access.projects where login = session_user
        union select cloud from access.grants where login = session_user and kind = 'domain' and revoked_at is null) mine $$;

ALTER FUNCTION access.my_clouds() OWNER TO timeline_owner;

COMMENT ON FUNCTION access.my_clouds() IS 'Every cloud in which the login may read anything';

CREATE FUNCTION access.my_domains() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$ select coalesce(array_agg(cloud || '/' || scope_id), '{}') from access.grants
      where login = session_user and kind = 'domain' and revoked_at is null $$;

ALTER FUNCTION access.my_domains() OWNER TO timeline_owner;

COMMENT ON FUNCTION access.my_domains() IS 'cloud/domain of every domain that the login may read';

CREATE FUNCTION access.my_project() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$ select min(project_id) from access.projects where login = session_user having count(*) = 1 $$;

ALTER FUNCTION access.my_project() OWNER TO timeline_owner;

COMMENT ON FUNCTION access.my_project() IS 'The project of a login that reads exactly one; null for any other. One value lets an index give the newest rows in order';

CREATE FUNCTION access.my_projects() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$ select coalesce(array_agg(cloud || '/' || project_id), '{}') from access.projects where login = session_user $$;

ALTER FUNCTION access.my_projects() OWNER TO timeline_owner;

COMMENT ON FUNCTION access.my_projects() IS 'cloud/project of every project that the login may read';

CREATE FUNCTION timeline.drop_partitions_before(horizon timestamp with time zone) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION timeline.drop_partitions_before(horizon timestamp with time zone) OWNER TO timeline_owner;

COMMENT ON FUNCTION timeline.drop_partitions_before(horizon timestamp with time zone) IS 'Retention: drops the months that end at or before the horizon; returns their names.';

CREATE FUNCTION timeline.ensure_partition(instant timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION timeline.ensure_partition(instant timestamp with time zone) OWNER TO timeline_owner;

COMMENT ON FUNCTION timeline.ensure_partition(instant timestamp with time zone) IS 'Makes the month''s partitions of events, tenant_events and attributions if they are not there.';

CREATE FUNCTION topology.hashed(key text) RETURNS int8range
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ select int8range(hashtextextended(key, 0), hashtextextended(key, 0), '[]') $$;

ALTER FUNCTION topology.hashed(key text) OWNER TO timeline_owner;

COMMENT ON FUNCTION topology.hashed(key text) IS 'The hash of a key as a range of one number, for exclusion constraints';

CREATE TABLE access.grants (
    grant_id bigint NOT NULL,
    login name NOT NULL,
    kind text NOT NULL,
    cloud text,
    scope_id text,
    granted_at timestamp with time zone DEFAULT now() NOT NULL,
    granted_by name DEFAULT SESSION_USER NOT NULL,
    revoked_at timestamp with time zone,
    revoked_by name,
    CONSTRAINT grants_check CHECK (((kind = ANY (ARRAY['provider'::text, 'security'::text])) = (scope_id IS NULL))),
    CONSTRAINT grants_check1 CHECK (((scope_id IS NULL) OR (cloud IS NOT NULL))),
    CONSTRAINT grants_kind_check CHECK ((kind = ANY (ARRAY['provider'::text, 'security'::text, 'domain'::text, 'project'::text, 'subtree'::text])))
);

ALTER TABLE ONLY access.grants FORCE ROW LEVEL SECURITY;

ALTER TABLE access.grants OWNER TO timeline_owner;

COMMENT ON TABLE access.grants IS 'One grant of one scope to one login; a revoked one is kept: the table is its own audit.';

COMMENT ON COLUMN access.grants.scope_id IS 'A project''s id (project, subtree) or a domain''s (domain); null for the provider''s and the security reader''s';

ALTER TABLE access.grants ALTER COLUMN grant_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME access.grants_grant_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE access.projects (
    login name NOT NULL,
    cloud text NOT NULL,
    project_id text NOT NULL
);

ALTER TABLE ONLY access.projects FORCE ROW LEVEL SECURITY;

ALTER TABLE access.projects OWNER TO timeline_owner;

COMMENT ON TABLE access.projects IS 'The projects that a login''s grants come to now; kept by timeline.db grant and by the topology stage for subtrees.';

CREATE TABLE access.secrets (
    name text NOT NULL,
    secret bytea NOT NULL
);

ALTER TABLE ONLY access.secrets FORCE ROW LEVEL SECURITY;

ALTER TABLE access.secrets OWNER TO timeline_owner;

COMMENT ON TABLE access.secrets IS 'Secrets of this deployment, for the pipeline alone. They are made with the database and live as long as it does.';

COMMENT ON COLUMN access.secrets.name IS 'affected: the key under which the ids of affected rows are made; with another key every such id is another';

CREATE TABLE raw.attempts (
    attempt_id bigint NOT NULL,
    cloud text NOT NULL,
    source text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    path text NOT NULL,
    rows integer NOT NULL,
    bytes bigint NOT NULL,
    sealed_from bigint[],
    replaced_by bigint,
    committed_at timestamp with time zone DEFAULT now() NOT NULL,
    facts_path text,
    evidence_path text,
    normalizer text,
    normalized_at timestamp with time zone,
    absorbed_at timestamp with time zone,
    resolved_at timestamp with time zone
);

ALTER TABLE raw.attempts OWNER TO timeline_owner;

COMMENT ON TABLE raw.attempts IS 'One immutable Parquet file of observations; a file without a row here was never committed and counts for nothing. The three times are the work queue of the stages behind.';

COMMENT ON COLUMN raw.attempts.sealed_from IS 'The attempts that this file compacts, when its window was sealed';

COMMENT ON COLUMN raw.attempts.facts_path IS 'The normalized facts of this attempt; derived, can be made again';

ALTER TABLE raw.attempts ALTER COLUMN attempt_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME raw.attempts_attempt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE raw.latest (
    cloud text NOT NULL,
    source text NOT NULL,
    key text NOT NULL,
    sha256 text NOT NULL,
    body text NOT NULL,
    cursor_at timestamp with time zone NOT NULL,
    observed_at timestamp with time zone NOT NULL,
    missing_from timestamp with time zone,
    missing_since timestamp with time zone,
    gone_at timestamp with time zone,
    ended_at timestamp with time zone,
    raw_ref text NOT NULL
);

ALTER TABLE raw.latest OWNER TO timeline_owner;

COMMENT ON TABLE raw.latest IS 'The newest version of every record: what the next observation is compared with.';

COMMENT ON COLUMN raw.latest.missing_from IS 'The last time it was there, as far as is known';

COMMENT ON COLUMN raw.latest.missing_since IS 'The first complete scan that did not have it; a second one in a row makes it gone';

COMMENT ON COLUMN raw.latest.ended_at IS 'When it was over by its own word, of sources whose listings never show what is gone: a deleted server, a past migration';

CREATE TABLE raw.rebuilds (
    cloud text NOT NULL,
    ruleset text NOT NULL,
    begun_at timestamp with time zone NOT NULL,
    topology_at timestamp with time zone
);

ALTER TABLE raw.rebuilds OWNER TO timeline_owner;

COMMENT ON TABLE raw.rebuilds IS 'Rebuilds under way, or interrupted: what was normalized before begun_at is normalized anew, the topology once.';

CREATE TABLE raw.scans (
    cloud text NOT NULL,
    source text NOT NULL,
    last_attempt_at timestamp with time zone,
    last_success_at timestamp with time zone,
    last_complete_from timestamp with time zone,
    last_complete_at timestamp with time zone,
    first_complete_at timestamp with time zone,
    read_to timestamp with time zone,
    requests bigint DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    reason text,
    detail text,
    cursor jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE raw.scans OWNER TO timeline_owner;

COMMENT ON TABLE raw.scans IS 'One row per cloud and source: where its reading stands. Updated in place, so that polling an idle cloud stores nothing new.';

COMMENT ON COLUMN raw.scans.last_complete_from IS 'When the last read that may prove a deletion was begun: what it showed was so at this time or later';

COMMENT ON COLUMN raw.scans.last_complete_at IS 'When that read was finished; the source''s time, like the other two';

COMMENT ON COLUMN raw.scans.read_to IS 'Source time up to which the source was read successfully';

COMMENT ON COLUMN raw.scans.failures IS 'Failed reads in a row; drives the back-off';

COMMENT ON COLUMN raw.scans.reason IS 'Stable code of the last failure; null after a success';

COMMENT ON COLUMN raw.scans.cursor IS 'What the source itself remembers between fetches: probe results, position of its sweep';

CREATE TABLE raw.set_aside (
    cloud text NOT NULL,
    source text NOT NULL,
    sha256 text NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    key text,
    body text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    seen integer DEFAULT 1 NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT set_aside_stage_check CHECK ((stage = ANY (ARRAY['harvest'::text, 'normalize'::text])))
);

ALTER TABLE raw.set_aside OWNER TO timeline_owner;

COMMENT ON TABLE raw.set_aside IS 'Records that could not be read or normalized: kept, counted and shown, never in the way of the others.';

CREATE TABLE raw.store (
    is_only boolean DEFAULT true NOT NULL,
    store_id uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT store_is_only_check CHECK (is_only)
);

ALTER TABLE raw.store OWNER TO timeline_owner;

COMMENT ON TABLE raw.store IS 'Which raw store is this database''s: its file timeline-store-id holds the same id. Another''s is refused.';

CREATE TABLE timeline.affected (
    event_id uuid NOT NULL,
    tenant_project_id text NOT NULL,
    tenant_domain_id text,
    affected_id uuid NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    related jsonb NOT NULL,
    confidence text NOT NULL,
    version integer NOT NULL,
    is_current boolean NOT NULL,
    CONSTRAINT affected_confidence_check CHECK ((confidence = ANY (ARRAY['high'::text, 'medium'::text])))
);

ALTER TABLE ONLY timeline.affected FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.affected OWNER TO timeline_owner;

COMMENT ON TABLE timeline.affected IS 'Whom an event concerned beside its owner, for the provider: which event stands behind a tenant''s row of relation affected.';

COMMENT ON COLUMN timeline.affected.affected_id IS 'The id of the tenant''s row: an HMAC of event and project under a secret of this deployment; its attributions have the same id';

COMMENT ON COLUMN timeline.affected.occurred_at IS 'The time in the tenant''s row: the event''s, to the minute';

COMMENT ON COLUMN timeline.affected.related IS 'The tenant''s own resources that the event concerned: [{type, id, role}]';

COMMENT ON COLUMN timeline.affected.version IS 'Number of the newest attribution of this row';

COMMENT ON COLUMN timeline.affected.is_current IS 'False: the row was taken back';

CREATE TABLE timeline.attributions (
    event_id uuid NOT NULL,
    version integer NOT NULL,
    valid_at timestamp with time zone NOT NULL,
    owner_scope text NOT NULL,
    owner_domain_id text,
    owner_project_id text,
    rule text NOT NULL,
    confidence text NOT NULL,
    path jsonb DEFAULT '[]'::jsonb NOT NULL,
    evidence jsonb DEFAULT '{}'::jsonb NOT NULL,
    topology_recorded_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    run_id text,
    decided_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT attributions_confidence_check CHECK ((confidence = ANY (ARRAY['certain'::text, 'high'::text, 'medium'::text, 'none'::text])))
)
PARTITION BY RANGE (valid_at);

ALTER TABLE ONLY timeline.attributions FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.attributions OWNER TO timeline_owner;

COMMENT ON TABLE timeline.attributions IS 'One decision whose event it is; append-only, the newest version is the one believed.';

COMMENT ON COLUMN timeline.attributions.valid_at IS 'The time the owner was asked for: the event''s';

COMMENT ON COLUMN timeline.attributions.rule IS 'The rule of ownership that decided; none where no rule could';

COMMENT ON COLUMN timeline.attributions.path IS 'The way through the topology: [{type, id, relation, valid_from, valid_to}]';

COMMENT ON COLUMN timeline.attributions.evidence IS 'What the rule read: column and value, or the record behind an interval';

COMMENT ON COLUMN timeline.attributions.topology_recorded_at IS 'The belief about the topology that was used: replay reads the same';

CREATE TABLE timeline.awaits (
    cloud text NOT NULL,
    resource_id text NOT NULL,
    event_id uuid NOT NULL,
    occurred_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY timeline.awaits FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.awaits OWNER TO timeline_owner;

COMMENT ON TABLE timeline.awaits IS 'What besides its target would change an event: how late evidence finds the events it concerns.';

COMMENT ON COLUMN timeline.awaits.resource_id IS 'A resource; or request:<service>/<id>, request:global/<id> (another event of the request), name:<kind>/<name> (whoever is called so), scan:<source> (a later complete scan)';

CREATE TABLE timeline.contributions (
    event_id uuid NOT NULL,
    road_source text NOT NULL,
    road_key text NOT NULL,
    observed_at timestamp with time zone NOT NULL,
    fact jsonb NOT NULL
);

ALTER TABLE ONLY timeline.contributions FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.contributions OWNER TO timeline_owner;

COMMENT ON TABLE timeline.contributions IS 'What each road said of an event that came on more than one: their merge is the event, in whatever order they arrived.';

CREATE TABLE timeline.coverage (
    cloud text NOT NULL,
    source text NOT NULL,
    service text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    window_end timestamp with time zone NOT NULL,
    status text NOT NULL,
    reason text,
    detail text,
    rows bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    last_attempt_at timestamp with time zone,
    last_success_at timestamp with time zone,
    proven_to timestamp with time zone,
    first_scan_at timestamp with time zone,
    last_scan_at timestamp with time zone,
    largest_gap_seconds double precision,
    resolution_seconds double precision,
    CONSTRAINT coverage_status_check CHECK ((status = ANY (ARRAY['proven'::text, 'settling'::text, 'open'::text, 'gap'::text, 'unknown'::text])))
);

ALTER TABLE ONLY timeline.coverage FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.coverage OWNER TO timeline_owner;

COMMENT ON TABLE timeline.coverage IS 'What is known about one window of one source: harvested is not proven, no data is not the same as nothing happened.';

COMMENT ON COLUMN timeline.coverage.service IS 'The source''s service, under which tenants are told of its coverage';

COMMENT ON COLUMN timeline.coverage.status IS 'proven, settling (read, second read due), open (the hour is not over), gap (see reason), unknown (never read, or the source keeps no history)';

COMMENT ON COLUMN timeline.coverage.reason IS 'Stable code of why it is a gap or unknown';

COMMENT ON COLUMN timeline.coverage.rows IS 'Records stored for this window';

COMMENT ON COLUMN timeline.coverage.proven_to IS 'Source time up to which this window was read';

COMMENT ON COLUMN timeline.coverage.resolution_seconds IS 'For sources compared scan by scan: what came and went within this time was not seen';

CREATE TABLE timeline.event_keys (
    event_id uuid NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    cloud text NOT NULL,
    road_source text NOT NULL,
    road_key text NOT NULL,
    roads smallint DEFAULT 1 NOT NULL,
    payload_project_id text,
    payload_domain_id text,
    target_project_id text,
    target_domain_id text,
    request_path text,
    named_type text,
    named_name text,
    named_domain text,
    filled text[] DEFAULT '{}'::text[] NOT NULL,
    attribution integer NOT NULL,
    rule text NOT NULL,
    confidence text NOT NULL
);

ALTER TABLE ONLY timeline.event_keys FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.event_keys OWNER TO timeline_owner;

COMMENT ON TABLE timeline.event_keys IS 'The head of each event: which month''s partition holds it, what its record proves of its owner, and its newest attribution. Keeps the id unique when a better estimate moves the event.';

COMMENT ON COLUMN timeline.event_keys.filled IS 'Columns of the event that its record left open, filled from what is known beside it: they are asked for anew when the event is decided again';

CREATE TABLE timeline.events (
    event_id uuid NOT NULL,
    cloud text NOT NULL,
    region text,
    source text NOT NULL,
    source_key text NOT NULL,
    source_version text NOT NULL,
    witnesses jsonb NOT NULL,
    event_type text NOT NULL,
    category text NOT NULL,
    visibility text NOT NULL,
    severity smallint NOT NULL,
    source_severity text,
    outcome text NOT NULL,
    phase text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    occurred_from timestamp with time zone NOT NULL,
    occurred_to timestamp with time zone NOT NULL,
    time_precision text NOT NULL,
    ended_at timestamp with time zone,
    observed_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    resource_name text,
    related jsonb DEFAULT '[]'::jsonb NOT NULL,
    changes jsonb DEFAULT '[]'::jsonb NOT NULL,
    owner_scope text NOT NULL,
    owner_domain_id text,
    owner_project_id text,
    actor_user_id text,
    actor_project_id text,
    actor_domain_id text,
    actor_kind text NOT NULL,
    on_behalf_of_user_id text,
    on_behalf_of_project_id text,
    actor_address text,
    request_id text,
    global_request_id text,
    host text,
    availability_zone text,
    title text NOT NULL,
    message text,
    raw_ref text NOT NULL,
    raw_sha256 text NOT NULL,
    normalizer_version text NOT NULL,
    CONSTRAINT events_actor CHECK ((actor_kind = ANY (ARRAY['human'::text, 'service'::text, 'system'::text, 'federated'::text, 'app_credential'::text, 'trust'::text, 'unknown'::text]))),
    CONSTRAINT events_bounds CHECK (((occurred_from <= occurred_at) AND (occurred_at <= occurred_to))),
    CONSTRAINT events_category CHECK ((category = ANY (ARRAY['monitoring'::text, 'provisioning'::text, 'migration'::text, 'restore'::text, 'backup'::text, 'snapshot'::text, 'security'::text, 'tenant'::text, 'ticket'::text, 'network'::text, 'image'::text, 'orchestration'::text, 'sla'::text, 'metering'::text, 'runbook'::text, 'provider'::text]))),
    CONSTRAINT events_outcome CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'pending'::text, 'unknown'::text]))),
    CONSTRAINT events_phase CHECK ((phase = ANY (ARRAY['start'::text, 'progress'::text, 'end'::text, 'error'::text, 'point'::text, 'state'::text]))),
    CONSTRAINT events_precision CHECK ((time_precision = ANY (ARRAY['exact'::text, 'second'::text, 'interval'::text]))),
    CONSTRAINT events_scope CHECK ((((owner_scope = 'project'::text) AND (owner_project_id IS NOT NULL)) OR ((owner_scope = 'domain'::text) AND (owner_domain_id IS NOT NULL) AND (owner_project_id IS NULL)) OR ((owner_scope = ANY (ARRAY['provider'::text, 'quarantine'::text])) AND (owner_project_id IS NULL) AND (owner_domain_id IS NULL)))),
    CONSTRAINT events_severity CHECK (((severity >= 0) AND (severity <= 5))),
    CONSTRAINT events_visibility CHECK ((visibility = ANY (ARRAY['operational'::text, 'security'::text, 'billing'::text, 'system'::text])))
)
PARTITION BY RANGE (occurred_at);

ALTER TABLE ONLY timeline.events FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.events OWNER TO timeline_owner;

COMMENT ON TABLE timeline.events IS 'One row per event, for the provider: every fact once, whatever roads it came on.';

COMMENT ON COLUMN timeline.events.event_id IS 'UUIDv5 of (cloud, source, source_key, source_version): the same fact always gives the same id';

COMMENT ON COLUMN timeline.events.cloud IS 'The configured name of the cloud the event came from';

COMMENT ON COLUMN timeline.events.region IS 'The region within the cloud, where the source says it';

COMMENT ON COLUMN timeline.events.source IS 'The fact''s identity source, for example nova_instance_actions';

COMMENT ON COLUMN timeline.events.source_key IS 'The fact''s natural key there';

COMMENT ON COLUMN timeline.events.source_version IS 'Which fact of that record';

COMMENT ON COLUMN timeline.events.witnesses IS 'Every road the fact arrived on: [{source, key, observed_at}], sorted';

COMMENT ON COLUMN timeline.events.event_type IS '<service>.<resource>.<action>[.<phase>]';

COMMENT ON COLUMN timeline.events.category IS 'What kind of thing happened: provisioning, network, security, backup, …';

COMMENT ON COLUMN timeline.events.visibility IS 'Which readers may see it at all: operational, security, billing, system';

COMMENT ON COLUMN timeline.events.severity IS 'OCSF: 1 informational, 2 low, 3 medium, 4 high, 5 critical; 0 unknown';

COMMENT ON COLUMN timeline.events.source_severity IS 'The severity as the source said it';

COMMENT ON COLUMN timeline.events.outcome IS 'success, failure, pending or unknown';

COMMENT ON COLUMN timeline.events.phase IS 'start, progress, end, error, point or state; a span is one row that goes from start to end or error';

COMMENT ON COLUMN timeline.events.occurred_at IS 'Best estimate of when it happened, never when it was harvested';

COMMENT ON COLUMN timeline.events.occurred_from IS 'Lower bound of that estimate';

COMMENT ON COLUMN timeline.events.occurred_to IS 'Upper bound of that estimate';

COMMENT ON COLUMN timeline.events.time_precision IS 'exact, second or interval (derived from two scans)';

COMMENT ON COLUMN timeline.events.ended_at IS 'For spans: when it ended';

COMMENT ON COLUMN timeline.events.observed_at IS 'When it was first fetched';

COMMENT ON COLUMN timeline.events.recorded_at IS 'When this row was committed as it is now';

COMMENT ON COLUMN timeline.events.resource_type IS 'Kind of the primary target: server, volume, port, …';

COMMENT ON COLUMN timeline.events.resource_id IS 'Id of the primary target';

COMMENT ON COLUMN timeline.events.resource_name IS 'Its name as it was at the time';

COMMENT ON COLUMN timeline.events.related IS 'Other resources: [{type, id, role}], role one of affected, related, host, container';

COMMENT ON COLUMN timeline.events.changes IS 'What changed where known: [{path, old, new}]';

COMMENT ON COLUMN timeline.events.owner_scope IS 'project, domain, provider, or quarantine: the owner is not proven';

COMMENT ON COLUMN timeline.events.owner_domain_id IS 'The domain of whoever owned the target when it happened';

COMMENT ON COLUMN timeline.events.owner_project_id IS 'The project that owned the target when it happened';

COMMENT ON COLUMN timeline.events.actor_user_id IS 'Who did it; never a source of ownership';

COMMENT ON COLUMN timeline.events.actor_project_id IS 'The project the actor worked in';

COMMENT ON COLUMN timeline.events.actor_domain_id IS 'The actor''s domain';

COMMENT ON COLUMN timeline.events.actor_kind IS 'human, service, system, federated, app_credential, trust or unknown';

COMMENT ON COLUMN timeline.events.on_behalf_of_user_id IS 'For whom the actor acted (delegation), where the record says so';

COMMENT ON COLUMN timeline.events.on_behalf_of_project_id IS 'The project of whom the actor acted for';

COMMENT ON COLUMN timeline.events.actor_address IS 'The address the request came from';

COMMENT ON COLUMN timeline.events.request_id IS 'The service''s own request id';

COMMENT ON COLUMN timeline.events.global_request_id IS 'The request id that crosses services';

COMMENT ON COLUMN timeline.events.host IS 'The host it happened on; provider only';

COMMENT ON COLUMN timeline.events.availability_zone IS 'The zone it happened in; provider only';

COMMENT ON COLUMN timeline.events.title IS 'One line a person can read in an incident';

COMMENT ON COLUMN timeline.events.message IS 'Redacted detail';

COMMENT ON COLUMN timeline.events.raw_ref IS 'Where the record as sent lies: file of the raw store # row';

COMMENT ON COLUMN timeline.events.raw_sha256 IS 'Hash of that record (scrubbed, canonical JSON)';

COMMENT ON COLUMN timeline.events.normalizer_version IS 'Which version of the normalizer wrote this';

CREATE TABLE timeline.quarantine (
    event_id uuid NOT NULL,
    cloud text NOT NULL,
    source text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    candidates jsonb DEFAULT '[]'::jsonb NOT NULL,
    first_seen timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT quarantine_reason_check CHECK ((reason = ANY (ARRAY['NO_EVIDENCE'::text, 'TOPOLOGY_GAP'::text, 'CONFLICT'::text, 'INTERVAL_OVERLAP'::text, 'AMBIGUOUS_NAME'::text])))
);

ALTER TABLE ONLY timeline.quarantine FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.quarantine OWNER TO timeline_owner;

COMMENT ON TABLE timeline.quarantine IS 'Events whose owner is not proven, with what would release them; a released one keeps its row with resolved_at.';

CREATE TABLE timeline.retention (
    is_only boolean DEFAULT true NOT NULL,
    dropped_before timestamp with time zone NOT NULL,
    CONSTRAINT retention_is_only_check CHECK (is_only)
);

ALTER TABLE ONLY timeline.retention FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.retention OWNER TO timeline_owner;

COMMENT ON TABLE timeline.retention IS 'Up to where months of the timeline were dropped: an event from before is not made again.';

CREATE TABLE timeline.taken_back (
    event_id uuid NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    version integer NOT NULL
);

ALTER TABLE ONLY timeline.taken_back FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.taken_back OWNER TO timeline_owner;

COMMENT ON TABLE timeline.taken_back IS 'Events and affected rows that no record gave any more: if one comes again, its attributions are numbered on from here.';

COMMENT ON COLUMN timeline.taken_back.version IS 'Number of its last attribution';

CREATE TABLE timeline.tenant_changes (
    sequence bigint NOT NULL,
    cloud text NOT NULL,
    tenant_domain_id text,
    tenant_project_id text,
    operation text NOT NULL,
    event_id uuid NOT NULL,
    visibility text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tenant_changes_operation_check CHECK ((operation = ANY (ARRAY['upsert'::text, 'retract'::text])))
);

ALTER TABLE ONLY timeline.tenant_changes FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.tenant_changes OWNER TO timeline_owner;

COMMENT ON TABLE timeline.tenant_changes IS 'Append-only, per tenant: what to insert or take back; feeds streams and exports. A retraction carries the id only.';

ALTER TABLE timeline.tenant_changes ALTER COLUMN sequence ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME timeline.tenant_changes_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE timeline.tenant_coverage (
    cloud text NOT NULL,
    service text NOT NULL,
    window_start timestamp with time zone NOT NULL,
    window_end timestamp with time zone NOT NULL,
    status text NOT NULL
);

ALTER TABLE ONLY timeline.tenant_coverage FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.tenant_coverage OWNER TO timeline_owner;

COMMENT ON TABLE timeline.tenant_coverage IS 'What a tenant may know of coverage: per service and window the least that is known of its sources.';

CREATE TABLE timeline.tenant_events (
    event_id uuid NOT NULL,
    cloud text NOT NULL,
    region text,
    tenant_domain_id text,
    tenant_project_id text,
    relation text NOT NULL,
    visibility text NOT NULL,
    event_type text NOT NULL,
    category text NOT NULL,
    severity smallint NOT NULL,
    outcome text NOT NULL,
    phase text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    occurred_from timestamp with time zone NOT NULL,
    occurred_to timestamp with time zone NOT NULL,
    time_precision text NOT NULL,
    ended_at timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    resource_name text,
    related jsonb DEFAULT '[]'::jsonb NOT NULL,
    changes jsonb DEFAULT '[]'::jsonb NOT NULL,
    actor_user_id text,
    actor_label text NOT NULL,
    request_id text,
    title text NOT NULL,
    message text,
    CONSTRAINT tenant_events_check CHECK (((tenant_domain_id IS NOT NULL) OR (tenant_project_id IS NOT NULL))),
    CONSTRAINT tenant_events_relation_check CHECK ((relation = ANY (ARRAY['owner'::text, 'affected'::text])))
)
PARTITION BY RANGE (occurred_at);

ALTER TABLE ONLY timeline.tenant_events FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.tenant_events OWNER TO timeline_owner;

COMMENT ON TABLE timeline.tenant_events IS 'One event as one tenant may see it: already redacted, under row security.';

COMMENT ON COLUMN timeline.tenant_events.event_id IS 'The event''s id; of an affected row one of its own';

COMMENT ON COLUMN timeline.tenant_events.tenant_domain_id IS 'The domain of the tenant that sees this row; null while its domain is unknown';

COMMENT ON COLUMN timeline.tenant_events.tenant_project_id IS 'The project that sees this row; null for a domain''s own events';

COMMENT ON COLUMN timeline.tenant_events.relation IS 'owner: it happened to something of the tenant''s; affected: something of the provider''s that the tenant''s resources hung on';

COMMENT ON COLUMN timeline.tenant_events.actor_user_id IS 'The acting user, where the tenant may know it';

COMMENT ON COLUMN timeline.tenant_events.actor_label IS 'Who did it, as the tenant may know it: user, service, system, or provider operator';

CREATE TABLE timeline.verifications (
    verification_id bigint NOT NULL,
    cloud text NOT NULL,
    verified_at timestamp with time zone NOT NULL,
    raw text NOT NULL,
    ruleset text NOT NULL,
    hash text NOT NULL,
    faults integer NOT NULL,
    tables jsonb NOT NULL
);

ALTER TABLE ONLY timeline.verifications FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.verifications OWNER TO timeline_owner;

COMMENT ON TABLE timeline.verifications IS 'What a cloud''s timeline came to when it was verified: equal raw records and rules must give equal hashes.';

COMMENT ON COLUMN timeline.verifications.raw IS 'Which raw records it was made from';

COMMENT ON COLUMN timeline.verifications.ruleset IS 'Which code and configuration decided';

COMMENT ON COLUMN timeline.verifications.hash IS 'Over everything that was believed, without what a run leaves on it';

COMMENT ON COLUMN timeline.verifications.faults IS 'Invariants that did not hold';

COMMENT ON COLUMN timeline.verifications.tables IS 'Rows and hash of each part of each table: {table: {part: [rows, hash]}}';

ALTER TABLE timeline.verifications ALTER COLUMN verification_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME timeline.verifications_verification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE timeline.walked (
    cloud text NOT NULL,
    resource_id text NOT NULL,
    event_id uuid NOT NULL,
    occurred_from timestamp with time zone NOT NULL,
    occurred_to timestamp with time zone NOT NULL
);

ALTER TABLE ONLY timeline.walked FORCE ROW LEVEL SECURITY;

ALTER TABLE timeline.walked OWNER TO timeline_owner;

COMMENT ON TABLE timeline.walked IS 'What was passed on the way from an event to those whom it affected: how late evidence finds the events that concern others, too.';

CREATE TABLE timeline_meta.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE timeline_meta.migrations OWNER TO timeline_owner;

COMMENT ON TABLE timeline_meta.migrations IS 'One applied migration: its number, name and the hash of what was run.';

CREATE TABLE topology.claims (
    claim_id bigint NOT NULL,
    cloud text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    claim text NOT NULL,
    at_from timestamp with time zone,
    at timestamp with time zone NOT NULL,
    name text,
    project_id text,
    domain_id text,
    relation text,
    to_type text,
    to_ids text[],
    source text NOT NULL,
    raw_ref text,
    claim_hash uuid NOT NULL,
    CONSTRAINT claims_claim_check CHECK ((claim = ANY (ARRAY['created'::text, 'seen'::text, 'gone'::text, 'owner'::text, 'owner_since'::text, 'edges'::text, 'edge_since'::text, 'edge_until'::text])))
);

ALTER TABLE ONLY topology.claims FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.claims OWNER TO timeline_owner;

COMMENT ON TABLE topology.claims IS 'Every claim ever made about a resource, once; the set of them decides the intervals, in whatever order they came.';

COMMENT ON COLUMN topology.claims.at_from IS 'gone: in (at_from, at]; owner, seen, edges: the version before was still the truth then';

COMMENT ON COLUMN topology.claims.claim_hash IS 'md5 over what is claimed and by which source, not from which file: the same claim twice is one';

ALTER TABLE topology.claims ALTER COLUMN claim_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME topology.claims_claim_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE topology.clock (
    cloud text NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY topology.clock FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.clock OWNER TO timeline_owner;

COMMENT ON TABLE topology.clock IS 'When the belief about each cloud last changed; strictly increases, so it is also the pin under which a resolution is replayed.';

CREATE TABLE topology.conflicts (
    cloud text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    project_ids text[] NOT NULL,
    domain_ids text[] NOT NULL,
    valid_from timestamp with time zone,
    valid_to timestamp with time zone,
    recorded_from timestamp with time zone NOT NULL,
    recorded_to timestamp with time zone,
    CONSTRAINT conflicts_check CHECK (((valid_from IS NULL) OR (valid_to IS NULL) OR (valid_from <= valid_to)))
);

ALTER TABLE ONLY topology.conflicts FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.conflicts OWNER TO timeline_owner;

COMMENT ON TABLE topology.conflicts IS 'A period for which the claims about a resource''s owner contradict each other: nobody''s until a dated claim settles it.';

COMMENT ON COLUMN topology.conflicts.project_ids IS 'The projects that were claimed';

COMMENT ON COLUMN topology.conflicts.domain_ids IS 'The domains that were claimed';

CREATE TABLE topology.edges (
    cloud text NOT NULL,
    from_type text NOT NULL,
    from_id text NOT NULL,
    relation text NOT NULL,
    to_type text NOT NULL,
    to_id text NOT NULL,
    valid_from timestamp with time zone,
    valid_to timestamp with time zone,
    valid_to_from timestamp with time zone,
    ending text,
    recorded_from timestamp with time zone NOT NULL,
    recorded_to timestamp with time zone,
    raw_ref text,
    CONSTRAINT edges_check CHECK (((valid_from IS NULL) OR (valid_to IS NULL) OR (valid_from <= valid_to))),
    CONSTRAINT edges_check1 CHECK ((((valid_to IS NULL) = (ending IS NULL)) AND ((valid_to IS NULL) = (valid_to_from IS NULL)))),
    CONSTRAINT edges_ending_check CHECK ((ending = ANY (ARRAY['dated'::text, 'changed'::text, 'gone'::text])))
);

ALTER TABLE ONLY topology.edges FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.edges OWNER TO timeline_owner;

COMMENT ON TABLE topology.edges IS 'What a resource hung on for one period: runs_on, attached, device, on_network, in_subnet, security_group, gateway, floating_port, of_volume, of_group.';

COMMENT ON COLUMN topology.edges.valid_from IS 'When it was first observed, or began as dated';

COMMENT ON COLUMN topology.edges.valid_to_from IS 'Proven until here; it ended in (valid_to_from, valid_to], or exactly at valid_to if they are equal';

COMMENT ON COLUMN topology.edges.ending IS 'dated: exactly at valid_to; changed: another observation did not have it; gone: with the resource; null: still so';

CREATE TABLE topology.ownership (
    cloud text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    project_id text,
    domain_id text,
    valid_from timestamp with time zone,
    valid_to timestamp with time zone,
    valid_to_from timestamp with time zone,
    is_exact boolean NOT NULL,
    ending text,
    recorded_from timestamp with time zone NOT NULL,
    recorded_to timestamp with time zone,
    raw_ref text,
    CONSTRAINT ownership_check CHECK (((valid_from IS NULL) OR (valid_to IS NULL) OR (valid_from <= valid_to))),
    CONSTRAINT ownership_check1 CHECK ((((valid_to IS NULL) = (ending IS NULL)) AND ((valid_to IS NULL) = (valid_to_from IS NULL)))),
    CONSTRAINT ownership_check2 CHECK (((project_id IS NULL) <> (domain_id IS NULL))),
    CONSTRAINT ownership_ending_check CHECK ((ending = ANY (ARRAY['dated'::text, 'changed'::text, 'gone'::text])))
);

ALTER TABLE ONLY topology.ownership FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.ownership OWNER TO timeline_owner;

COMMENT ON TABLE topology.ownership IS 'Who owned a resource for one period. Between two owners lies the period in which it is not known who did.';

COMMENT ON COLUMN topology.ownership.project_id IS 'The owner, unless the resource belongs to a domain; a project''s own domain is its row of type project';

COMMENT ON COLUMN topology.ownership.valid_to_from IS 'Proven until here; later than this only an inferred deletion reaches, up to valid_to';

COMMENT ON COLUMN topology.ownership.is_exact IS 'valid_from is dated by the service, or the beginning; false where it is a time of observation';

COMMENT ON COLUMN topology.ownership.ending IS 'dated: another''s from valid_to on; changed: proven until valid_to, then not known whose until the next row; gone: with the resource; null: still so';

CREATE TABLE topology.resources (
    cloud text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    name text,
    valid_from timestamp with time zone,
    valid_to timestamp with time zone,
    valid_to_from timestamp with time zone,
    recorded_from timestamp with time zone NOT NULL,
    recorded_to timestamp with time zone,
    raw_ref text,
    CONSTRAINT resources_check CHECK (((valid_from IS NULL) OR (valid_to IS NULL) OR (valid_from <= valid_to)))
);

ALTER TABLE ONLY topology.resources FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.resources OWNER TO timeline_owner;

COMMENT ON TABLE topology.resources IS 'A resource under one name for one period; a rename closes a row and opens the next.';

COMMENT ON COLUMN topology.resources.valid_from IS 'Null: from the beginning';

COMMENT ON COLUMN topology.resources.valid_to IS 'Null: still so; an inferred deletion lies in (valid_to_from, valid_to]';

CREATE TABLE topology.touched (
    cloud text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    changed_from timestamp with time zone,
    changed_to timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY topology.touched FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.touched OWNER TO timeline_owner;

COMMENT ON TABLE topology.touched IS 'Resources whose name, owner or edges changed and whose events were not looked at since; the ownership stage takes them off.';

COMMENT ON COLUMN topology.touched.changed_from IS 'The belief is another from this time on (null: from the beginning): earlier events are not concerned';

COMMENT ON COLUMN topology.touched.changed_to IS 'The belief is another up to this time (null: without end)';

CREATE TABLE topology.touched_ends (
    cloud text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    changed_from timestamp with time zone,
    changed_to timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY topology.touched_ends FORCE ROW LEVEL SECURITY;

ALTER TABLE topology.touched_ends OWNER TO timeline_owner;

COMMENT ON TABLE topology.touched_ends IS 'Resources to which an edge began, ended or was corrected: like topology.touched, but of the far end. What was told to all that hung on such a resource is looked at again.';

COMMENT ON COLUMN topology.touched_ends.changed_from IS 'The edges are others from this time on (null: from the beginning)';

COMMENT ON COLUMN topology.touched_ends.changed_to IS 'The edges are others up to this time (null: without end)';

ALTER TABLE ONLY access.grants
    ADD CONSTRAINT grants_pkey PRIMARY KEY (grant_id);

ALTER TABLE ONLY access.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (login, cloud, project_id);

ALTER TABLE ONLY access.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (name);

ALTER TABLE ONLY raw.attempts
    ADD CONSTRAINT attempts_path_key UNIQUE (path);

ALTER TABLE ONLY raw.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (attempt_id);

ALTER TABLE ONLY raw.latest
    ADD CONSTRAINT latest_pkey PRIMARY KEY (cloud, source, key);

ALTER TABLE ONLY raw.rebuilds
    ADD CONSTRAINT rebuilds_pkey PRIMARY KEY (cloud);

ALTER TABLE ONLY raw.scans
    ADD CONSTRAINT scans_pkey PRIMARY KEY (cloud, source);

ALTER TABLE ONLY raw.set_aside
    ADD CONSTRAINT set_aside_pkey PRIMARY KEY (cloud, source, sha256, stage);

ALTER TABLE ONLY raw.store
    ADD CONSTRAINT store_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY timeline.affected
    ADD CONSTRAINT affected_affected_id_key UNIQUE (affected_id);

ALTER TABLE ONLY timeline.affected
    ADD CONSTRAINT affected_pkey PRIMARY KEY (event_id, tenant_project_id);

ALTER TABLE ONLY timeline.attributions
    ADD CONSTRAINT attributions_pkey PRIMARY KEY (event_id, version, valid_at);

ALTER TABLE ONLY timeline.awaits
    ADD CONSTRAINT awaits_pkey PRIMARY KEY (cloud, resource_id, event_id);

ALTER TABLE ONLY timeline.contributions
    ADD CONSTRAINT contributions_pkey PRIMARY KEY (event_id, road_source, road_key);

ALTER TABLE ONLY timeline.coverage
    ADD CONSTRAINT coverage_pkey PRIMARY KEY (cloud, source, window_start);

ALTER TABLE ONLY timeline.event_keys
    ADD CONSTRAINT event_keys_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY timeline.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (event_id, occurred_at);

ALTER TABLE ONLY timeline.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY timeline.retention
    ADD CONSTRAINT retention_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY timeline.taken_back
    ADD CONSTRAINT taken_back_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY timeline.tenant_changes
    ADD CONSTRAINT tenant_changes_pkey PRIMARY KEY (sequence);

ALTER TABLE ONLY timeline.tenant_coverage
    ADD CONSTRAINT tenant_coverage_pkey PRIMARY KEY (cloud, service, window_start);

ALTER TABLE ONLY timeline.verifications
    ADD CONSTRAINT verifications_pkey PRIMARY KEY (verification_id);

ALTER TABLE ONLY timeline.walked
    ADD CONSTRAINT walked_pkey PRIMARY KEY (cloud, resource_id, event_id);

ALTER TABLE ONLY timeline_meta.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY topology.claims
    ADD CONSTRAINT claims_claim_hash_key UNIQUE (claim_hash);

ALTER TABLE ONLY topology.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (claim_id);

ALTER TABLE ONLY topology.clock
    ADD CONSTRAINT clock_pkey PRIMARY KEY (cloud);

ALTER TABLE ONLY topology.ownership
    ADD CONSTRAINT ownership_one_owner_at_a_time EXCLUDE USING gist (topology.hashed(((((cloud || '/'::text) || resource_type) || '/'::text) || resource_id)) WITH &&, topology.textrange(((((cloud || '/'::text) || resource_type) || '/'::text) || resource_id), ((((cloud || '/'::text) || resource_type) || '/'::text) || resource_id), '[]'::text) WITH &&, tstzrange(valid_from, valid_to) WITH &&, tstzrange(recorded_from, recorded_to) WITH &&);

ALTER TABLE ONLY topology.resources
    ADD CONSTRAINT resources_one_name_at_a_time EXCLUDE USING gist (topology.hashed(((((cloud || '/'::text) || resource_type) || '/'::text) || resource_id)) WITH &&, topology.textrange(((((cloud || '/'::text) || resource_type) || '/'::text) || resource_id), ((((cloud || '/'::text) || resource_type) || '/'::text) || resource_id), '[]'::text) WITH &&, tstzrange(valid_from, valid_to) WITH &&, tstzrange(recorded_from, recorded_to) WITH &&);

ALTER TABLE ONLY topology.touched_ends
    ADD CONSTRAINT touched_ends_pkey PRIMARY KEY (cloud, resource_type, resource_id);

ALTER TABLE ONLY topology.touched
    ADD CONSTRAINT touched_pkey PRIMARY KEY (cloud, resource_type, resource_id);

CREATE UNIQUE INDEX grants_open ON access.grants USING btree (login, kind, cloud, scope_id) NULLS NOT DISTINCT WHERE (revoked_at IS NULL);

CREATE INDEX attempts_pending ON raw.attempts USING btree (cloud, window_start) WHERE (resolved_at IS NULL);

CREATE INDEX attempts_window ON raw.attempts USING btree (cloud, source, window_start);

CREATE INDEX latest_observed ON raw.latest USING btree (cloud, source, observed_at);

CREATE INDEX coverage_open ON timeline.coverage USING btree (cloud, source, window_start) WHERE (status = ANY (ARRAY['settling'::text, 'open'::text, 'gap'::text]));

CREATE INDEX coverage_service ON timeline.coverage USING btree (cloud, service, window_start);

CREATE INDEX events_global_request ON ONLY timeline.events USING btree (global_request_id) WHERE (global_request_id IS NOT NULL);

CREATE INDEX events_newest ON ONLY timeline.events USING btree (occurred_at DESC, event_id DESC);

CREATE INDEX events_owner ON ONLY timeline.events USING btree (owner_project_id, occurred_at DESC) WHERE (owner_project_id IS NOT NULL);

CREATE INDEX events_request ON ONLY timeline.events USING btree (request_id) WHERE (request_id IS NOT NULL);

CREATE INDEX events_resource ON ONLY timeline.events USING btree (resource_id, occurred_at DESC);

CREATE INDEX quarantine_open ON timeline.quarantine USING btree (cloud, reason) WHERE (resolved_at IS NULL);

CREATE INDEX tenant_changes_scope ON timeline.tenant_changes USING btree (tenant_project_id, sequence);

CREATE INDEX tenant_events_domain ON ONLY timeline.tenant_events USING btree (tenant_domain_id, occurred_at DESC);

CREATE UNIQUE INDEX tenant_events_key ON ONLY timeline.tenant_events USING btree (event_id, tenant_project_id, tenant_domain_id, occurred_at) NULLS NOT DISTINCT;

CREATE INDEX tenant_events_newest ON ONLY timeline.tenant_events USING btree (tenant_project_id, occurred_at DESC, event_id DESC);

CREATE INDEX tenant_events_resource ON ONLY timeline.tenant_events USING btree (resource_id, occurred_at DESC);

CREATE INDEX verifications_same ON timeline.verifications USING btree (cloud, raw, ruleset, verified_at);

CREATE INDEX claims_resource ON topology.claims USING btree (resource_id, resource_type, cloud);

CREATE INDEX conflicts_resource ON topology.conflicts USING btree (resource_id, resource_type, cloud);

CREATE INDEX edges_from ON topology.edges USING btree (from_id, relation, cloud);

CREATE INDEX edges_to ON topology.edges USING btree (to_id, relation, cloud);

CREATE INDEX ownership_project_now ON topology.ownership USING btree (project_id, cloud) WHERE (recorded_to IS NULL);

CREATE INDEX ownership_resource ON topology.ownership USING btree (resource_id, resource_type, cloud);

CREATE INDEX resources_name ON topology.resources USING btree (name, resource_type, cloud) WHERE (name IS NOT NULL);

CREATE INDEX resources_resource ON topology.resources USING btree (resource_id, resource_type, cloud);

ALTER TABLE access.grants ENABLE ROW LEVEL SECURITY;

CREATE POLICY keeper ON access.grants TO timeline_owner USING (true) WITH CHECK (true);

CREATE POLICY keeper ON access.projects TO timeline_owner USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON access.grants FOR SELECT TO timeline_writer USING (true);

CREATE POLICY pipeline ON access.projects TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON access.secrets FOR SELECT TO timeline_writer USING (true);

ALTER TABLE access.projects ENABLE ROW LEVEL SECURITY;

ALTER TABLE access.secrets ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.affected ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.attributions ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.awaits ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.contributions ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.coverage ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.event_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.events ENABLE ROW LEVEL SECURITY;

CREATE POLICY pipeline ON timeline.affected TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.attributions TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.awaits TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.contributions TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.coverage TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.event_keys TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.events TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.quarantine TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.retention TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.taken_back TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.tenant_changes TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.tenant_coverage TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.tenant_events TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.verifications TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON timeline.walked TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY project ON timeline.tenant_changes FOR SELECT TO timeline_project_reader USING (((visibility = 'operational'::text) AND (tenant_project_id = ( SELECT access.my_project() AS my_project)) AND (cloud = ( SELECT access.my_cloud() AS my_cloud))));

CREATE POLICY project ON timeline.tenant_events FOR SELECT TO timeline_project_reader USING (((visibility = 'operational'::text) AND (tenant_project_id = ( SELECT access.my_project() AS my_project)) AND (cloud = ( SELECT access.my_cloud() AS my_cloud))));

CREATE POLICY provider ON timeline.affected FOR SELECT TO timeline_provider USING ((EXISTS ( SELECT
   FROM timeline.events e
  WHERE (e.event_id = affected.event_id))));

CREATE POLICY provider ON timeline.attributions FOR SELECT TO timeline_provider USING (((EXISTS ( SELECT
   FROM timeline.events e
  WHERE (e.event_id = attributions.event_id))) OR (EXISTS ( SELECT
   FROM timeline.affected a
  WHERE (a.affected_id = attributions.event_id)))));

CREATE POLICY provider ON timeline.contributions FOR SELECT TO timeline_provider USING ((EXISTS ( SELECT
   FROM timeline.events e
  WHERE (e.event_id = contributions.event_id))));

CREATE POLICY provider ON timeline.coverage FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON timeline.events FOR SELECT TO timeline_provider USING ((visibility = ANY (ARRAY['operational'::text, 'billing'::text, 'system'::text])));

CREATE POLICY provider ON timeline.quarantine FOR SELECT TO timeline_provider USING (((EXISTS ( SELECT
   FROM timeline.events e
  WHERE ((e.event_id = quarantine.event_id) AND (e.occurred_at = quarantine.occurred_at)))) OR ((resolved_at IS NOT NULL) AND (EXISTS ( SELECT
   FROM timeline.events e
  WHERE (e.event_id = quarantine.event_id))))));

CREATE POLICY provider ON timeline.retention FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON timeline.tenant_changes FOR SELECT TO timeline_provider USING ((visibility = ANY (ARRAY['operational'::text, 'billing'::text, 'system'::text])));

CREATE POLICY provider ON timeline.tenant_coverage FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON timeline.tenant_events FOR SELECT TO timeline_provider USING ((visibility = ANY (ARRAY['operational'::text, 'billing'::text, 'system'::text])));

CREATE POLICY provider ON timeline.verifications FOR SELECT TO timeline_provider USING (true);

ALTER TABLE timeline.quarantine ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.retention ENABLE ROW LEVEL SECURITY;

CREATE POLICY scope ON timeline.tenant_changes FOR SELECT TO timeline_scope_reader USING (((visibility = 'operational'::text) AND ((((cloud || '/'::text) || tenant_project_id) = ANY (( SELECT access.my_projects() AS my_projects)::text[])) OR (((cloud || '/'::text) || tenant_domain_id) = ANY (( SELECT access.my_domains() AS my_domains)::text[])))));

CREATE POLICY scope ON timeline.tenant_events FOR SELECT TO timeline_scope_reader USING (((visibility = 'operational'::text) AND ((((cloud || '/'::text) || tenant_project_id) = ANY (( SELECT access.my_projects() AS my_projects)::text[])) OR (((cloud || '/'::text) || tenant_domain_id) = ANY (( SELECT access.my_domains() AS my_domains)::text[])))));

CREATE POLICY security ON timeline.events FOR SELECT TO timeline_security USING (true);

CREATE POLICY security ON timeline.tenant_changes FOR SELECT TO timeline_security USING (true);

CREATE POLICY security ON timeline.tenant_events FOR SELECT TO timeline_security USING (true);

ALTER TABLE timeline.taken_back ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON timeline.tenant_coverage FOR SELECT TO timeline_tenant USING ((cloud = ANY (( SELECT access.my_clouds() AS my_clouds)::text[])));

ALTER TABLE timeline.tenant_changes ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.tenant_coverage ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.tenant_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.verifications ENABLE ROW LEVEL SECURITY;

ALTER TABLE timeline.walked ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.claims ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.clock ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.conflicts ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.edges ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.ownership ENABLE ROW LEVEL SECURITY;

CREATE POLICY pipeline ON topology.claims TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.clock TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.conflicts TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.edges TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.ownership TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.resources TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.touched TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY pipeline ON topology.touched_ends TO timeline_writer USING (true) WITH CHECK (true);

CREATE POLICY provider ON topology.claims FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.clock FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.conflicts FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.edges FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.ownership FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.resources FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.touched FOR SELECT TO timeline_provider USING (true);

CREATE POLICY provider ON topology.touched_ends FOR SELECT TO timeline_provider USING (true);

ALTER TABLE topology.resources ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.touched ENABLE ROW LEVEL SECURITY;

ALTER TABLE topology.touched_ends ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA access TO timeline_tenant;
GRANT USAGE ON SCHEMA access TO timeline_writer;

GRANT USAGE ON SCHEMA raw TO timeline_writer;

GRANT USAGE ON SCHEMA timeline TO timeline_writer;
GRANT USAGE ON SCHEMA timeline TO timeline_provider;
GRANT USAGE ON SCHEMA timeline TO timeline_tenant;

GRANT USAGE ON SCHEMA timeline_meta TO timeline_writer;
GRANT USAGE ON SCHEMA timeline_meta TO timeline_provider;

GRANT USAGE ON SCHEMA topology TO timeline_writer;
GRANT USAGE ON SCHEMA topology TO timeline_provider;

REVOKE ALL ON FUNCTION access.my_cloud() FROM PUBLIC;
GRANT ALL ON FUNCTION access.my_cloud() TO timeline_tenant;

REVOKE ALL ON FUNCTION access.my_clouds() FROM PUBLIC;
GRANT ALL ON FUNCTION access.my_clouds() TO timeline_tenant;

REVOKE ALL ON FUNCTION access.my_domains() FROM PUBLIC;
GRANT ALL ON FUNCTION access.my_domains() TO timeline_tenant;

REVOKE ALL ON FUNCTION access.my_project() FROM PUBLIC;
GRANT ALL ON FUNCTION access.my_project() TO timeline_tenant;

REVOKE ALL ON FUNCTION access.my_projects() FROM PUBLIC;
GRANT ALL ON FUNCTION access.my_projects() TO timeline_tenant;

REVOKE ALL ON FUNCTION timeline.drop_partitions_before(horizon timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION timeline.drop_partitions_before(horizon timestamp with time zone) TO timeline_writer;

REVOKE ALL ON FUNCTION timeline.ensure_partition(instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION timeline.ensure_partition(instant timestamp with time zone) TO timeline_writer;

GRANT SELECT ON TABLE access.grants TO timeline_writer;

GRANT SELECT,INSERT,DELETE ON TABLE access.projects TO timeline_writer;

GRANT SELECT ON TABLE access.secrets TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE raw.attempts TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE raw.latest TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE raw.rebuilds TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE raw.scans TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE raw.set_aside TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE raw.store TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.affected TO timeline_writer;
GRANT SELECT ON TABLE timeline.affected TO timeline_provider;

GRANT SELECT,INSERT ON TABLE timeline.attributions TO timeline_writer;
GRANT SELECT ON TABLE timeline.attributions TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.awaits TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.contributions TO timeline_writer;
GRANT SELECT ON TABLE timeline.contributions TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.coverage TO timeline_writer;
GRANT SELECT ON TABLE timeline.coverage TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.event_keys TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.events TO timeline_writer;
GRANT SELECT ON TABLE timeline.events TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.quarantine TO timeline_writer;
GRANT SELECT ON TABLE timeline.quarantine TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.retention TO timeline_writer;
GRANT SELECT ON TABLE timeline.retention TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.taken_back TO timeline_writer;

GRANT SELECT,INSERT ON TABLE timeline.tenant_changes TO timeline_writer;
GRANT SELECT ON TABLE timeline.tenant_changes TO timeline_provider;

GRANT SELECT(sequence) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(cloud) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(tenant_domain_id) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(tenant_project_id) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(operation) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(event_id) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(visibility) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT(changed_at) ON TABLE timeline.tenant_changes TO timeline_tenant;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.tenant_coverage TO timeline_writer;
GRANT SELECT ON TABLE timeline.tenant_coverage TO timeline_provider;

GRANT SELECT(cloud) ON TABLE timeline.tenant_coverage TO timeline_tenant;

GRANT SELECT(service) ON TABLE timeline.tenant_coverage TO timeline_tenant;

GRANT SELECT(window_start) ON TABLE timeline.tenant_coverage TO timeline_tenant;

GRANT SELECT(window_end) ON TABLE timeline.tenant_coverage TO timeline_tenant;

GRANT SELECT(status) ON TABLE timeline.tenant_coverage TO timeline_tenant;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.tenant_events TO timeline_writer;
GRANT SELECT ON TABLE timeline.tenant_events TO timeline_provider;

GRANT SELECT(event_id) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(cloud) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(region) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(tenant_domain_id) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(tenant_project_id) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(relation) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(visibility) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(event_type) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(category) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(severity) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(outcome) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(phase) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(occurred_at) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(occurred_from) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(occurred_to) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(time_precision) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(ended_at) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(recorded_at) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(resource_type) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(resource_id) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(resource_name) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(related) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(changes) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(actor_user_id) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(actor_label) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(request_id) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(title) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT(message) ON TABLE timeline.tenant_events TO timeline_tenant;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.verifications TO timeline_writer;
GRANT SELECT ON TABLE timeline.verifications TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE timeline.walked TO timeline_writer;

GRANT SELECT ON TABLE timeline_meta.migrations TO timeline_writer;
GRANT SELECT ON TABLE timeline_meta.migrations TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.claims TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.clock TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.conflicts TO timeline_writer;
GRANT SELECT ON TABLE topology.conflicts TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.edges TO timeline_writer;
GRANT SELECT ON TABLE topology.edges TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.ownership TO timeline_writer;
GRANT SELECT ON TABLE topology.ownership TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.resources TO timeline_writer;
GRANT SELECT ON TABLE topology.resources TO timeline_provider;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.touched TO timeline_writer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE topology.touched_ends TO timeline_writer;
