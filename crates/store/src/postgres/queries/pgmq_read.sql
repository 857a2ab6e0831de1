-- The messages stay locked until the end of the transaction and visible after it: the ones that are claimed are deleted
-- with it. Whoever else holds a step is at work on it; its message is left alone. Anyone may send to a queue: what is not a
-- step comes without one.
SELECT s.id, s.template, s.state, s.remaining, s.enqueued_at, s.fence, s.attempts, s.crashes, s.started_at, s.wake_at, s.worker, s.has_checkpoint, s.suspect, s.name, s.ended_at,
  s.enqueued_at, CASE WHEN m.message->>'rank' ~ '^-?[0-9]{1,9}$' THEN (m.message->>'rank')::bigint ELSE 0 END, t.uuid, t.template, t.priority, t.created_at,
  CASE WHEN octet_length(q.context) <= 8192 THEN q.context END, q.details, m.msg_id,
  CASE WHEN m.message->>'step_id' ~ '^[0-9]{1,18}$' THEN (m.message->>'step_id')::bigint END
FROM pgmq.read($1, 0, $2) m
LEFT JOIN LATERAL (
  SELECT * FROM steps WHERE id = CASE WHEN m.message->>'step_id' ~ '^[0-9]{1,18}$' THEN (m.message->>'step_id')::bigint END
  FOR UPDATE SKIP LOCKED) s ON true
LEFT JOIN tasks t ON t.id = s.id >> 14 LEFT JOIN requests q ON q.task = t.id
ORDER BY m.msg_id
