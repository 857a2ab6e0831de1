INSERT INTO workers (name, language, sdk_version, queues, handlers, slots, pid, lease_ms, started_at, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
ON CONFLICT (name) DO UPDATE SET language = $2, sdk_version = $3, queues = $4, handlers = $5, slots = $6, pid = $7, lease_ms = $8,
  started_at = $9, seen_at = $9, gone = false RETURNING id
