-- Keys with which callers repeat a submit without making a second job. A key lives as long as its job.
CREATE TABLE idempotency_keys (
  caller TEXT NOT NULL,
  key TEXT NOT NULL,
  hash TEXT NOT NULL, -- of what was submitted with it
  seq INTEGER NOT NULL UNIQUE REFERENCES jobs (seq) ON DELETE CASCADE,
  PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
