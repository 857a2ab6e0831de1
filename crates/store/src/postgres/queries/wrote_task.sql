SELECT 1 FROM tasks WHERE uuid = $1
