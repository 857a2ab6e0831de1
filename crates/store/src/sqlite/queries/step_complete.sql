UPDATE steps SET state = ?2, remaining = ?3, fence = ?4, attempts = ?5, crashes = ?6, enqueued_at = ?7,
  started_at = ?8, wake_at = ?9, worker = ?10, has_checkpoint = ?11, suspect = ?12, ended_at = ?13, result = ?14
WHERE id = ?1
