SELECT id, name, CASE WHEN beat = 0 THEN seen_at ELSE beat END, lease_ms, gone FROM workers WHERE id = ?1
