-- Through the leases: few rows, whatever the tables hold.
SELECT w.name, w.id, s.id, s.fence FROM workers w
LEFT JOIN (wakes k JOIN steps s ON s.id = k.step AND s.state = 2) ON s.worker = w.id WHERE w.name = ANY ($1)
