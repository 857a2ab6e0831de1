SELECT nextval('task_ids'), pg_current_xact_id()::text FROM generate_series(1, $1)
