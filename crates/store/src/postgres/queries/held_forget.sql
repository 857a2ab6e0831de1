DELETE FROM held WHERE worker = $1
