SELECT pgmq.send_batch($1, $2::text[]::jsonb[])
