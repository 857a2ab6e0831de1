-- The history of a task that is still there names no worker any more that has been gone for as long.
DELETE FROM workers INDEXED BY workers_gone WHERE gone AND seen_at < ?1
  AND NOT EXISTS (SELECT 1 FROM steps WHERE steps.state = 2 AND steps.worker = workers.id)
