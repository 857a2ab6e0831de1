SELECT nextval('task_ids') FROM generate_series(1, $1)
