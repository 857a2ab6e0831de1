INSERT OR REPLACE INTO inputs (step, inputs) VALUES (?1, ?2)
