UPDATE steps SET wake_at = ?2 WHERE id = ?1
