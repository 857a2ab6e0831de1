SELECT t.uuid, t.state, d.resolved_at FROM dead_letters d JOIN tasks t ON t.id = d.task WHERE d.id = $1
