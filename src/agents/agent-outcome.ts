import { isStructured, type JobOutcome, type JobSpec } from '../jobs/job.ts';
import type { EndReason } from '../jobs/ports.ts';
import { endedOutcome } from '../jobs/run-job.ts';
import { supervisionLost } from '../process/containment.ts';
import type { Found } from '../process/file-end.ts';
import type { ProcessExit } from '../process/run-process.ts';
import type { AgentResult } from './provider.ts';

/** Given as the reason to end an agent that had its result out and did not leave. */
export const lingering = 'lingering';
/** Given as the reason to end an agent whose job took more disk space than is allowed. */
export const overDisk = 'disk_limit';

type Verdict = Pick<JobOutcome, 'status' | 'reason' | 'error'>;

/**
 * How a run ended. Who ended it from outside decides first: a run at its limit is a timeout even if a result was printed
 * just before, and the report still holds that result. Otherwise the agent's result decides, never the exit code.
 */
export function judge(exit: ProcessExit, found: Found<AgentResult>, spec: JobSpec): Verdict {
  switch (exit.endedBy) {
    case null:
    case lingering:
      return found.outcome === 'none' ? judgeExit(exit) : judgeResult(found, spec);
    case 'timeout':
      return failed('timeout', 'timeout', `The agent did not finish within ${spec.timeoutMs / 1000} seconds`);
    case 'idle':
      return failed('timeout', 'idle', 'The agent printed nothing for longer than is allowed');
    case supervisionLost:
      return failed('lost', 'lost', "The agent's supervisor was ended from outside, or lost the service");
    case 'output_limit':
      return failed('failed', 'output_limit', 'The agent printed more than is allowed');
    case overDisk:
      return failed('failed', 'disk_limit', 'The job took more disk space than is allowed');
    default:
      return verdictOf(endedOutcome(endReason(exit.endedBy)));
  }
}

function judgeResult(found: Exclude<Found<AgentResult>, { outcome: 'none' }>, spec: JobSpec): Verdict {
  if (found.outcome === 'too_long')
    return failed('failed', 'output_limit', "The agent's result is longer than is allowed");
  const { failure, structured } = found.value;
  if (failure !== null) return failed('failed', failure.reason, failure.error);
  // The CLI calls it a success when the model never gave the JSON that it was asked for.
  if (isStructured(spec) && !structured)
    return failed('failed', 'no_result', 'The agent ended without an answer that fits the schema');
  return { status: 'completed', reason: 'ok', error: null };
}

function judgeExit({ exitCode, signal }: ProcessExit): Verdict {
  if (signal !== null) return failed('failed', 'signal', `The agent was killed by ${signal}`);
  if (exitCode !== 0) return failed('failed', 'exit_nonzero', `The agent exited with code ${exitCode} and no result`);
  return failed('failed', 'no_result', 'The agent exited without a result');
}

function failed(status: Verdict['status'], reason: Verdict['reason'], error: string): Verdict {
  return { status, reason, error };
}

function verdictOf({ status, reason, error }: JobOutcome): Verdict {
  return { status, reason, error };
}

/** Whoever aborts without saying why has cancelled. */
function endReason(reason: string): EndReason {
  return reason === 'client_gone' || reason === 'shutdown' ? reason : 'cancelled';
}
