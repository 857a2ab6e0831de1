SELECT CASE WHEN beat = 0 THEN seen_at ELSE beat END, draining, gone FROM workers WHERE id = $1 FOR NO KEY UPDATE
