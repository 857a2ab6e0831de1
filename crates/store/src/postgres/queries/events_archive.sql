UPDATE events SET archived_at = $2 WHERE msg_id = ANY ($1) AND archived_at IS NULL RETURNING 1
