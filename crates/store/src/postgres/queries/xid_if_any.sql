SELECT pg_current_xact_id_if_assigned()::text, (extract(epoch FROM clock_timestamp()) * 1000)::bigint
