SELECT a.step, a.fence, a.attempt, a.outcome, w.name, a.started_at, a.ended_at, a.execution_us, a.error, a.metadata, a.result, a.retry_at
FROM attempts a LEFT JOIN workers w ON w.id = a.worker WHERE a.step BETWEEN $1 AND $2 ORDER BY a.step, a.ended_at, a.fence, a.seq
