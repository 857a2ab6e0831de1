SELECT least((SELECT min(wake_at) FROM wakes), (SELECT min(wake_at) FROM tasks WHERE wake_at IS NOT NULL))
