INSERT INTO audit (task, step, action, actor, reason, before, after, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
