-- One row per job, lean: it is rewritten at each change of its status and read by every list. Texts that can be long are
-- cut or left out here, and kept whole in long_specs and long_reports.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of admission; AUTOINCREMENT, so that a cursor never meets a second job
  id TEXT NOT NULL UNIQUE,
  caller TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('execute', 'chat')),
  status TEXT NOT NULL
    CHECK (status IN ('queued', 'running', 'completed', 'failed', 'timeout', 'error', 'cancelled', 'lost')),
  attempt INTEGER NOT NULL DEFAULT 0,
  owner TEXT, -- the incarnation of the service that claimed it last; owner and attempt fence the finish
  created_at INTEGER NOT NULL, -- epoch milliseconds, as all times
  started_at INTEGER,
  finished_at INTEGER,
  reason TEXT,
  error TEXT,
  spec TEXT NOT NULL, -- JSON of JobSpec, prompt and systemPrompt cut
  report TEXT, -- JSON of AgentReport without output, stderr, result and text
  CHECK ((finished_at IS NULL) = (status IN ('queued', 'running'))),
  CHECK ((finished_at IS NULL) = (reason IS NULL)),
  CHECK ((finished_at IS NULL) = (report IS NULL))
) STRICT;

-- seq, the rowid, is the last part of every index: each serves its pages newest first, the first also the queue oldest first.
CREATE INDEX jobs_by_status ON jobs (status);
CREATE INDEX jobs_by_caller ON jobs (caller);
CREATE INDEX jobs_by_caller_and_status ON jobs (caller, status);
CREATE INDEX jobs_by_finish ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- The whole JSON of a spec that had to be cut, and of a report that holds text.
CREATE TABLE long_specs (
  seq INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  spec TEXT NOT NULL
) STRICT;

CREATE TABLE long_reports (
  seq INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  report TEXT NOT NULL
) STRICT;

-- Readiness is proved by a write.
CREATE TABLE probe (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  writes INTEGER NOT NULL
) STRICT;
INSERT INTO probe (id, writes) VALUES (1, 0);
