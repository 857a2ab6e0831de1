SELECT t.uuid, d.reason, d.opened_at, d.resolved_at FROM dead_letters d JOIN tasks t ON t.id = d.task ORDER BY d.id DESC LIMIT ?1
