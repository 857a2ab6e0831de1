SELECT pgmq FROM queues WHERE name = $1
