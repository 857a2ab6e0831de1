SELECT id, gone, language, pid, started_at FROM workers WHERE name = $1 FOR UPDATE
