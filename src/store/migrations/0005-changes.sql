-- JSON of ChangeSummary: what the run changed. Null where no agent ran, and in rows from before.
ALTER TABLE jobs ADD COLUMN changes TEXT;
