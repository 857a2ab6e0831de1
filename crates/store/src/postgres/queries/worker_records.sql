SELECT id, name, language, sdk_version, queues, handlers, slots, pid, started_at, seen_at, lease_ms, gone FROM workers ORDER BY seen_at DESC LIMIT 1000
