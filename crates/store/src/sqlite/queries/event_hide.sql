UPDATE events SET vt = ?2, read_ct = read_ct + 1 WHERE msg_id = ?1
