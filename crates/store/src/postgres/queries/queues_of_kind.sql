SELECT name, pgmq FROM queues WHERE kind = $1 ORDER BY name
