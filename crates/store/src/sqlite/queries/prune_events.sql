DELETE FROM events WHERE msg_id IN (SELECT msg_id FROM events WHERE archived_at < ?1 ORDER BY archived_at LIMIT ?2)
