UPDATE dead_letters SET resolved_at = $2, resolution = $3 WHERE task = $1 AND resolved_at IS NULL
