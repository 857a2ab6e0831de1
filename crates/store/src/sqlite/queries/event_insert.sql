INSERT INTO events (queue, task, name, enqueued_at, vt, message) VALUES (?1, ?2, ?3, ?4, ?4, ?5)
