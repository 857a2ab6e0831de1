SELECT id FROM workers WHERE id = ANY ($1) AND NOT gone
