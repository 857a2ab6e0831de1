INSERT INTO queues (name, pgmq, kind) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
