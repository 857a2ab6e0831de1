SELECT DISTINCT worker FROM steps INDEXED BY steps_held WHERE state = 2
