-- Step ids are `task id << 14 | step number`, so a task's steps lie side by side and need no second index.
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE templates (
  id INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  environment TEXT,
  digest TEXT NOT NULL UNIQUE,
  path TEXT NOT NULL,
  source TEXT NOT NULL,
  registered_at INTEGER NOT NULL
);
CREATE INDEX templates_name ON templates (namespace, name, version);

CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  uuid BLOB NOT NULL,
  template INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  state INTEGER NOT NULL,
  paused INTEGER NOT NULL,
  total INTEGER NOT NULL,
  done INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  isolated INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  active INTEGER NOT NULL,
  waiting INTEGER NOT NULL,
  batches TEXT,
  fence_base INTEGER NOT NULL,
  start_at INTEGER,
  created_at INTEGER NOT NULL,
  state_since INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  ended_at INTEGER,
  wake_at INTEGER
);
CREATE UNIQUE INDEX tasks_uuid ON tasks (uuid);
CREATE INDEX tasks_live ON tasks (id) WHERE ended_at IS NULL;
CREATE INDEX tasks_wake ON tasks (wake_at) WHERE wake_at IS NOT NULL;

-- Apart from `tasks`, whose row is rewritten with every step.
CREATE TABLE requests (task INTEGER PRIMARY KEY, context TEXT NOT NULL, details TEXT NOT NULL);

CREATE TABLE idempotency (key TEXT PRIMARY KEY, digest TEXT NOT NULL, task INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE steps (
  id INTEGER PRIMARY KEY,
  template INTEGER NOT NULL,
  state INTEGER NOT NULL,
  remaining INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  enqueued_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  wake_at INTEGER,
  worker INTEGER NOT NULL,
  has_checkpoint INTEGER NOT NULL,
  ended_at INTEGER,
  name TEXT,
  result TEXT
);
CREATE INDEX steps_wake ON steps (wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE inputs (step INTEGER PRIMARY KEY, inputs TEXT NOT NULL);
CREATE TABLE checkpoints (step INTEGER PRIMARY KEY, checkpoint TEXT NOT NULL);

-- Steps that may be claimed, best first.
CREATE TABLE ready (
  queue TEXT NOT NULL,
  rank INTEGER NOT NULL,
  enqueued_at INTEGER NOT NULL,
  step INTEGER NOT NULL,
  PRIMARY KEY (queue, rank, enqueued_at, step)
) WITHOUT ROWID;

CREATE TABLE attempts (
  step INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  outcome INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  execution_us INTEGER,
  retry_at INTEGER,
  error TEXT,
  metadata TEXT,
  result TEXT,
  PRIMARY KEY (step, fence, seq)
) WITHOUT ROWID;

CREATE TABLE workers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  language TEXT NOT NULL,
  sdk_version TEXT NOT NULL,
  queues TEXT NOT NULL,
  handlers TEXT NOT NULL,
  slots INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  lease_ms INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  gone INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL,
  step INTEGER,
  action TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  before TEXT NOT NULL,
  after TEXT NOT NULL,
  at INTEGER NOT NULL
);
CREATE INDEX audit_task ON audit (task);

CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL,
  reason INTEGER NOT NULL,
  opened_at INTEGER NOT NULL,
  resolved_at INTEGER
);
CREATE INDEX dead_letters_task ON dead_letters (task);
