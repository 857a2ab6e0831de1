UPDATE steps SET result = NULL, ended_at = NULL WHERE id = ?1
