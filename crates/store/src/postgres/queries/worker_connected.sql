-- The lock that a worker's listening connection holds; see listen.rs.
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
  AND classid = (hashtext($1 || ' workers')::bigint & 4294967295)::oid AND objid = ($2::bigint & 2147483647)::oid
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
