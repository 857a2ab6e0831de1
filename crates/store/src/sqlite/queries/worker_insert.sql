INSERT INTO workers (name, language, sdk_version, queues, handlers, slots, pid, lease_ms, started_at, seen_at, beat)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, 1) ON CONFLICT (name) DO NOTHING
