SELECT fence, worker FROM steps WHERE id = $1
