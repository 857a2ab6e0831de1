-- Whatever another process is at work on waits for another time.
SELECT t.id, t.total::bigint FROM tasks t
WHERE t.ended_at < $1
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.task = t.id AND d.resolved_at IS NULL)
  AND t.id <> ALL ($3)
ORDER BY t.ended_at LIMIT $2 FOR UPDATE OF t SKIP LOCKED
