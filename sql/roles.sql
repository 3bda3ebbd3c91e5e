-- Roles are objects of the cluster, not of a database, so they stand apart from the migrations.
--
-- Run by `timeline db migrate` before every migration, or by an administrator with psql, in the database that belongs to
-- timeline_assets. Running it again, or from several processes at once, changes nothing. The login that runs it owns the
-- database and has CREATEROLE; it need not be a superuser.
--
--   timeline_owner            owns every table and function; migrations become it; nobody logs in as it
--   timeline_writer           the pipeline: writes, owns nothing
--   timeline_provider         the operator's analysts: read what every tenant has, change nothing
--   timeline_security         a provider reader who also reads what only the security team may see
--   timeline_tenant           every tenant login: each sees its own projects
--   timeline_project_reader   a tenant login that reads exactly one project
--   timeline_scope_reader     a tenant login that reads several projects or whole domains
--
-- The login itself becomes a member of owner, writer, provider and security, so that one login given by URL can do all
-- of it.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('timeline_assets roles'));

DO $$
DECLARE
    all_groups constant text[] := ARRAY[
        'timeline_owner', 'timeline_writer', 'timeline_provider', 'timeline_security',
        'timeline_tenant', 'timeline_project_reader', 'timeline_scope_reader'];
    kinds constant jsonb := '{"timeline_security": "timeline_provider",
        "timeline_project_reader": "timeline_tenant", "timeline_scope_reader": "timeline_tenant"}';
    own_groups constant text[] := ARRAY[
        'timeline_owner', 'timeline_writer', 'timeline_provider', 'timeline_security'];
    -- since PostgreSQL 16 the creator of a role administers it without being able to become it
    may_become constant text := CASE
        WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
    group_name text;
    wider text;
BEGIN
    FOREACH group_name IN ARRAY all_groups LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = group_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', group_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                -- the lock is one database's, the role the cluster's: another database was faster
                NULL;
            END;
        END IF;
    END LOOP;

    SELECT rolname INTO group_name FROM pg_roles
    WHERE rolname = ANY (all_groups) AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin)
    ORDER BY rolname LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the role % can log in or has rights that would undo tenant isolation', group_name
            USING HINT = format(
                'ALTER ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB', group_name);
    END IF;

    FOR group_name, wider IN SELECT * FROM jsonb_each_text(kinds) LOOP
        IF NOT pg_has_role(group_name, wider, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO %I', wider, group_name);
        END IF;
    END LOOP;

    FOREACH group_name IN ARRAY own_groups LOOP
        IF NOT pg_has_role(current_user, group_name, may_become) THEN
            EXECUTE format('GRANT %I TO %I', group_name, current_user);
        END IF;
    END LOOP;

    -- the database is timeline_assets' own: nobody else comes in
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s', current_database(), array_to_string(all_groups, ', '));
    EXECUTE format('GRANT CREATE ON DATABASE %I TO timeline_owner', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO timeline_writer', current_database());

    -- a GRANT by somebody who may not is only a warning
    IF NOT has_database_privilege('timeline_owner', current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'the login % does not own the database %', current_user, current_database()
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('ALTER DATABASE %I OWNER TO %I', current_database(), current_user);
    END IF;
END
$$;

COMMIT;
