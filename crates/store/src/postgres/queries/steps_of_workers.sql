-- Few rows, whatever the tables hold. What a program of the release before holds is found by the deadlines it writes.
SELECT w.id, s.id, s.fence FROM workers w
LEFT JOIN LATERAL (
  SELECT step FROM held WHERE worker = w.id
  UNION SELECT k.step FROM wakes k WHERE w.beat = 0) h ON true
LEFT JOIN steps s ON s.id = h.step AND s.state = 2 AND s.worker = w.id
WHERE w.id = ANY ($1)
