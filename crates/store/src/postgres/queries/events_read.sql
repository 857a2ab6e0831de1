-- A message stays behind earlier ones of its task that another reader holds.
UPDATE events SET vt = $3, read_ct = read_ct + 1 WHERE msg_id IN (
  SELECT m.msg_id FROM events m
  WHERE m.queue = $1 AND m.archived_at IS NULL AND m.vt <= $2
    AND NOT EXISTS (SELECT 1 FROM events e WHERE e.task = m.task AND e.msg_id < m.msg_id AND e.queue = m.queue
                    AND e.archived_at IS NULL AND e.vt > $2)
  ORDER BY m.msg_id LIMIT $4)
RETURNING msg_id, read_ct, enqueued_at, vt, archived_at, message
