SELECT action, step, actor, reason, before, after, at FROM audit WHERE task = $1 ORDER BY id
