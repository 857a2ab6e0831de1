INSERT OR REPLACE INTO checkpoints (step, checkpoint) VALUES (?1, ?2)
