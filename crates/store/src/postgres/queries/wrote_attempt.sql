SELECT 1 FROM attempts WHERE step = $1 AND fence = $2 AND worker = $3 AND ended_at = $4
