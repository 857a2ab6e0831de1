INSERT INTO idempotency (key, digest, task) VALUES (?1, ?2, ?3)
