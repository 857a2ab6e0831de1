DELETE FROM wakes w USING unnest($1::bigint[], $2::bigint[]) AS v (wake_at, step) WHERE w.wake_at = v.wake_at AND w.step = v.step
