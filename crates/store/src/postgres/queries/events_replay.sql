UPDATE events SET archived_at = NULL, vt = $2, read_ct = 0 WHERE msg_id = ANY ($1) RETURNING 1
