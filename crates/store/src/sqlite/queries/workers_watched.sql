SELECT id, name, beat, lease_ms, gone FROM workers INDEXED BY workers_live WHERE NOT gone
