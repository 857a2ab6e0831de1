SELECT coalesce(max(seq) + 1, 0) FROM attempts WHERE step = $1 AND fence = $2
