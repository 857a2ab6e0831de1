INSERT INTO events (queue, task, name, enqueued_at, vt, message)
SELECT v.queue, v.task, v.name, v.at, v.at, v.message
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[]) WITH ORDINALITY AS v (queue, task, name, at, message, place)
ORDER BY v.place
