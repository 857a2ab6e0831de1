DELETE FROM ready r USING unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS v (queue, rank, enqueued_at, step)
WHERE r.queue = v.queue AND r.rank = v.rank AND r.enqueued_at = v.enqueued_at AND r.step = v.step
