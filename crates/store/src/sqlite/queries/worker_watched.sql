SELECT id, name, beat, lease_ms, gone FROM workers WHERE id = ?1
