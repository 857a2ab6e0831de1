SELECT pgmq.archive(pgmq, $1::bigint[]) FROM queues WHERE kind = 1
