INSERT INTO dead_letters (task, reason, step, error_type, message, fingerprint, opened_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
