SELECT count(*) FROM tasks t
WHERE t.ended_at < $1
  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.task = t.id AND d.resolved_at IS NULL)
