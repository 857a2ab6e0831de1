SELECT step FROM wakes WHERE wake_at <= $1 ORDER BY wake_at LIMIT $2 OFFSET $3
