DELETE FROM held h USING unnest($1::bigint[], $2::bigint[]) AS v (worker, step) WHERE h.worker = v.worker AND h.step = v.step
