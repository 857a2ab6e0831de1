UPDATE tasks SET state = ?2, paused = ?3, total = ?4, done = ?5, failed = ?6, isolated = ?7, cancelled = ?8,
  active = ?9, waiting = ?10, batches = ?11, fence_base = ?12, start_at = ?13, state_since = ?14, updated_at = ?15,
  ended_at = ?16, wake_at = ?17
WHERE id = ?1
