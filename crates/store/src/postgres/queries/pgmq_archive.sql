SELECT pgmq.archive($1, $2::bigint[])
