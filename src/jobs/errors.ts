/** A refused request. The code is stable; the HTTP status that goes with it is known to `http/errors.ts` alone. */
export abstract class RequestRefused extends Error {
  abstract readonly code: string;
}

/** As many jobs are unfinished as the service admits. */
export class QueueFullError extends RequestRefused {
  readonly code = 'queue_full';
  readonly maxUnfinished: number;
  constructor(maxUnfinished: number) {
    super('Queue full');
    this.name = 'QueueFullError';
    this.maxUnfinished = maxUnfinished;
  }
}

/** What was asked for can only be done to a job that has ended. */
export class JobNotFinalError extends RequestRefused {
  readonly code = 'job_not_final';
  constructor() {
    super('The job has not ended yet: cancel it first');
    this.name = 'JobNotFinalError';
  }
}

/** A key was used again for another request. */
export class IdempotencyConflictError extends RequestRefused {
  readonly code = 'idempotency_conflict';
  constructor() {
    super('The Idempotency-Key was used before with another request');
    this.name = 'IdempotencyConflictError';
  }
}

/** The job that one is to start after is not there. */
export class UnknownDependencyError extends RequestRefused {
  readonly code = 'unknown_dependency';
  constructor() {
    super('The job to start after is not known');
    this.name = 'UnknownDependencyError';
  }
}

/** No such job, or no longer: ids are never told apart from expired ones. */
export class JobNotFoundError extends RequestRefused {
  readonly code = 'job_not_found';
  constructor() {
    super('Job not found');
    this.name = 'JobNotFoundError';
  }
}

/** There is no telling what the job changed: not yet, or not any more. The message says which. */
export class NoChangesError extends RequestRefused {
  readonly code = 'no_changes';
  constructor(message: string) {
    super(message);
    this.name = 'NoChangesError';
  }
}

/** The service cannot take work now: starting, draining, or its store does not answer. */
export class UnavailableError extends RequestRefused {
  readonly code = 'unavailable';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UnavailableError';
  }
}

/** A workspace could not be made. The message is for callers: it holds no path; the cause goes to the log. */
export class WorkspaceError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'WorkspaceError';
  }
}
