INSERT INTO ready (queue, rank, enqueued_at, step) VALUES (?1, ?2, ?3, ?4)
