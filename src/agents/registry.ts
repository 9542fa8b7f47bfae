import { claude } from './claude.ts';
import type { AgentProvider } from './provider.ts';

/** Every agent CLI that a job can name as its `provider`. */
export const providers: Readonly<Record<string, AgentProvider>> = { claude };
