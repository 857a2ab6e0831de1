INSERT INTO wakes (wake_at, step) SELECT * FROM unnest($1::bigint[], $2::bigint[])
