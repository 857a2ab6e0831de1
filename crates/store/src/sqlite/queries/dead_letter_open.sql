INSERT INTO dead_letters (task, reason, opened_at) VALUES (?1, ?2, ?3)
