INSERT INTO attempts (step, fence, seq, attempt, outcome, worker, started_at, ended_at, execution_us, retry_at, error, metadata, result)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
