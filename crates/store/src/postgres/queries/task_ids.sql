SELECT nextval('task_ids'), pg_current_xact_id()::text, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM generate_series(1, $1)
