SELECT 1 FROM workers WHERE id = $1 AND name = $2
