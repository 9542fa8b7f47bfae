-- What receivers of webhooks are still to be told, written in the transaction of the change that it tells. It outlives its job.
CREATE TABLE outbox (
  id TEXT NOT NULL PRIMARY KEY, -- the receiver knows a repetition by it
  job_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  type TEXT NOT NULL,
  url TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER, -- null: given up
  error TEXT -- of the last try
) STRICT;
CREATE INDEX outbox_by_time ON outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX outbox_dead ON outbox (created_at) WHERE next_at IS NULL;
