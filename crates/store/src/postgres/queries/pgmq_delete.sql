SELECT pgmq.delete($1, $2::bigint[])
