-- What lists are searched by.
ALTER TABLE jobs ADD COLUMN agent TEXT GENERATED ALWAYS AS (json_extract(spec, '$.agent')) VIRTUAL;
CREATE INDEX jobs_by_agent ON jobs (agent) WHERE agent IS NOT NULL;
CREATE INDEX jobs_by_creation ON jobs (created_at);

-- The first level of a job's metadata. The primary key serves pages by name, newest first.
CREATE TABLE job_metadata (
  name TEXT NOT NULL,
  value TEXT, -- null where it is not a scalar, or too long to be searched for
  seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  PRIMARY KEY (name, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_metadata_by_value ON job_metadata (name, value, seq);
CREATE INDEX job_metadata_by_job ON job_metadata (seq);

-- A job whose caller asked for it is due until that caller acknowledged its end, and is kept that long.
ALTER TABLE jobs ADD COLUMN due INTEGER NOT NULL DEFAULT 0 CHECK (due IN (0, 1));
ALTER TABLE jobs ADD COLUMN acked_at INTEGER;
DROP INDEX jobs_by_finish;
CREATE INDEX jobs_by_finish ON jobs (finished_at) WHERE finished_at IS NOT NULL AND due = 0;
CREATE INDEX jobs_due ON jobs (finished_at) WHERE finished_at IS NOT NULL AND due = 1;
