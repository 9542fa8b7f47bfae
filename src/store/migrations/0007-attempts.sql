-- How often a job may be started: after a run that was lost it is queued again at its place, with what is known of that run.
ALTER TABLE jobs ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN earlier TEXT; -- JSON of EarlierAttempt[]
-- A running job whose end was asked for is not queued again. Noted only where it could be.
ALTER TABLE jobs ADD COLUMN cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1));
