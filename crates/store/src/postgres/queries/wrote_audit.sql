SELECT 1 FROM audit WHERE task = (SELECT id FROM tasks WHERE uuid = $1) AND actor = $2 AND at = $3
