INSERT INTO requests (task, context, details) VALUES (?1, ?2, ?3)
