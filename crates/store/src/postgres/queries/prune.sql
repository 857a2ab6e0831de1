WITH pruned AS (SELECT unnest($1::bigint[]) AS task),
steps_gone AS (DELETE FROM steps x USING pruned p WHERE x.id BETWEEN p.task << 14 AND (p.task << 14) + 16383),
attempts_gone AS (DELETE FROM attempts x USING pruned p WHERE x.step BETWEEN p.task << 14 AND (p.task << 14) + 16383),
inputs_gone AS (DELETE FROM inputs x USING pruned p WHERE x.step BETWEEN p.task << 14 AND (p.task << 14) + 16383),
checkpoints_gone AS (DELETE FROM checkpoints x USING pruned p WHERE x.step BETWEEN p.task << 14 AND (p.task << 14) + 16383),
requests_gone AS (DELETE FROM requests x USING pruned p WHERE x.task = p.task),
idempotency_gone AS (DELETE FROM idempotency x USING pruned p WHERE x.task = p.task),
audit_gone AS (DELETE FROM audit x USING pruned p WHERE x.task = p.task),
dead_letters_gone AS (DELETE FROM dead_letters x USING pruned p WHERE x.task = p.task)
DELETE FROM tasks x USING pruned p WHERE x.id = p.task
