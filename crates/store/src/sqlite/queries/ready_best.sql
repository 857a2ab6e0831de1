SELECT rank, enqueued_at, step FROM ready WHERE queue = ?1 ORDER BY rank, enqueued_at, step LIMIT ?2
