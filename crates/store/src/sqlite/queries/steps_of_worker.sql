-- Through the partial index of leases: few rows, whatever the table holds.
SELECT id, fence FROM steps WHERE wake_at IS NOT NULL AND worker = ?1 AND state = ?2
