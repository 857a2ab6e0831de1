SELECT pgmq.send_batch($1, $2::text[]::jsonb[], $3::text[]::jsonb[], to_timestamp($4 / 1000.0))
