"""What the catalogue of a database must not contain if its tenants are to be kept apart.

Every schema, table, partition, view, function and role is asked of the live catalogue: what a later migration adds is
looked at without anybody having to name it here.
"""

from __future__ import annotations

import psycopg

OWNER, WRITER, TENANT = "timeline_owner", "timeline_writer", "timeline_tenant"

# Schemas that are ours to answer for: all but PostgreSQL's own and Dagster's.
_OURS = """
with recursive
    spaces as (
        select oid, nspname, nspacl from pg_namespace
        where nspname !~ '^pg_' and nspname not in ('information_schema', 'dagster')),
    relations as (
        select c.*, s.nspname, s.nspname || '.' || c.relname as called
        from pg_class c join spaces s on s.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')),
    functions as (
        -- a type's own constructors are made by the server, with its rights and none of ours
        select p.*, s.nspname, p.oid::regprocedure::text as called
        from pg_proc p join spaces s on s.oid = p.pronamespace
        where not exists (select from pg_depend d
            where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'i')),
    rights as (
        select (aclexplode(relacl)).*, 'relation' as of from relations
        union all select (aclexplode(attacl)).*, 'column' from pg_attribute a join relations c on c.oid = a.attrelid
        union all select (aclexplode(proacl)).*, 'function' from functions
        union all select (aclexplode(nspacl)).*, 'schema' from spaces where nspname <> 'public'),
    named as (
        select grantee as oid from rights where grantee <> 0
        union select relowner from relations
        union select unnest(polroles) from pg_policy where polrelid in (select oid from relations)),
    groups as (select r.* from pg_roles r join named using (oid) where not r.rolname like 'pg\\_%%'),
    readers as (
        select oid, rolname from groups where rolname not in (%(owner)s, %(writer)s)),
    -- everybody may as well be a tenant
    tenants as (
        select oid, rolname from readers where pg_has_role(rolname, %(tenant)s, 'member')
        union all select 0::oid, 'public'),
    all_readers as (select * from readers union all select 0::oid, 'public'),
    readable as (
        select c.*, r.rolname as reader, r.oid as reader_oid, r.oid in (select oid from tenants) as is_tenants
        from relations c cross join all_readers r
        where case when c.relkind = 'S' then has_sequence_privilege(r.rolname, c.oid, 'SELECT, USAGE')
                   else has_any_column_privilege(r.rolname, c.oid, 'SELECT') end)
"""

# Each gives one text a finding.
_CHECKS = (
    # what the database knows of itself is of no tenant; the provider may read it as it is
    """select format('%%s can be read by %%s without row security enabled and forced', called, reader) from readable
    where relkind in ('r', 'p') and not (relrowsecurity and relforcerowsecurity)
      and (is_tenants or nspname <> 'timeline_meta')""",
    # a group is served by a policy for itself, for one it belongs to, or for each narrower one below it
    """select format('%%s can be read by %%s, for whom it has no policy', called, reader) from readable t
    where relkind in ('r', 'p') and (is_tenants or nspname <> 'timeline_meta') and not exists (
        select from pg_policy p, unnest(p.polroles) as for_role
        where p.polrelid = t.oid and p.polpermissive and p.polcmd in ('r', '*')
          and case when for_role = 0 or t.reader_oid = 0 then for_role = t.reader_oid
                   else pg_has_role(t.reader_oid, for_role, 'member')
                     or pg_has_role(for_role, t.reader_oid, 'member') end)""",
    """select format('%%s has a policy %%s that shows tenants every row', called, polname)
    from pg_policy p join relations c on c.oid = p.polrelid
    where p.polroles && (select array_agg(oid) from tenants) and pg_get_expr(p.polqual, p.polrelid) = 'true'""",
    """select format('%%s is a partition and can be read by %%s', called, reader) from readable where relispartition""",
    """select format('%%s is a view without security_invoker and can be read by %%s', called, reader) from readable
    where relkind = 'v' and not coalesce((select option_value::bool
        from pg_options_to_table(reloptions) where option_name = 'security_invoker'), false)""",
    """select format('%%s is no table of rows with an owner (%%s) and can be read by %%s', called, relkind, reader)
    from readable where relkind in ('m', 'f', 'S') and is_tenants""",
    """select format('%%s may %%s %%s', r.rolname, privilege, called)
    from relations c cross join all_readers r
    cross join unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as privilege
    where c.relkind <> 'S' and has_table_privilege(r.rolname, c.oid, privilege)""",
    """select format('%%s runs as its owner without a pinned search_path', called) from functions
    where prosecdef and not exists (select from unnest(proconfig) as setting where setting like 'search\\_path=%%')""",
    """select format('%%s runs as its owner and everybody may call it', called) from functions
    where prosecdef and has_function_privilege('public', oid, 'EXECUTE')""",
    """select format('%%s is owned by %%s', called, pg_get_userbyid(relowner)) from relations
    where nspname <> 'public' and pg_get_userbyid(relowner) <> %(owner)s
      and not (nspname = 'timeline_meta' and pg_has_role(relowner, %(owner)s, 'member'))""",
    """select format('%%s is owned by %%s', called, pg_get_userbyid(proowner)) from functions
    where nspname <> 'public' and pg_get_userbyid(proowner) <> %(owner)s""",
    """select format('the role %%s can log in, or has rights that undo row security', rolname) from groups
    where (rolcanlogin or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)
      and not pg_has_role(rolname, %(owner)s, 'member')""",
    """select format('the role %%s is a tenant''s and belongs to %%s', m.rolname, g.rolname)
    from pg_roles m join tenants t on t.oid <> 0 and pg_has_role(m.oid, t.oid, 'member') and not m.rolsuper
    join pg_roles g on pg_has_role(m.oid, g.oid, 'member') and g.oid <> m.oid
    where g.oid not in (select oid from tenants) and not m.rolcreaterole""",
    """select format('the role %%s is a tenant''s and has rights that undo row security', m.rolname)
    from pg_auth_members a join pg_roles m on m.oid = a.member
    where a.roleid in (select oid from tenants) and (m.rolsuper or m.rolbypassrls)""",
    """select format('%%s may create in the schema %%s', rolname, nspname) from all_readers, spaces
    where has_schema_privilege(rolname, spaces.oid, 'CREATE')""",
    """select format('%%s may create temporary tables and functions', rolname) from all_readers
    where has_database_privilege(rolname, current_database(), 'TEMPORARY')""",
)


def findings(connection: psycopg.Connection) -> list[str]:
    """What in this database could show a tenant another's rows: one sentence each, sorted; empty if nothing does.

    Rights, policies, owners and roles as they are now, for every group that reads and for everybody (`public`).
    """
    names = {"owner": OWNER, "writer": WRITER, "tenant": TENANT}
    found: set[str] = set()
    for check in _CHECKS:
        found |= {row[0] for row in connection.execute(_OURS + check, names)}
    return sorted(found)
