-- The seq of the job that a queued one waits for; null: it may start. It stays where the job ended without having started.
ALTER TABLE jobs ADD COLUMN waits_for INTEGER;
CREATE INDEX jobs_ready ON jobs (seq) WHERE status = 'queued' AND waits_for IS NULL;
CREATE INDEX jobs_waiting ON jobs (waits_for) WHERE status = 'queued' AND waits_for IS NOT NULL;
