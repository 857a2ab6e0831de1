SELECT i.key, i.digest, i.task, t.uuid FROM idempotency i JOIN tasks t ON t.id = i.task WHERE i.key = ANY ($1)
