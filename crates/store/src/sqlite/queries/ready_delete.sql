DELETE FROM ready WHERE queue = ?1 AND rank = ?2 AND enqueued_at = ?3 AND step = ?4
