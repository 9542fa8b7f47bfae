import { messageRoutes } from './anthropic/messages.ts';
import type { AppDeps, TypedApp } from './app.ts';
import { v1Deps } from './calls/call.ts';
import { chatRoutes } from './openai/chat.ts';
import { modelRoutes } from './openai/models.ts';
import { responseRoutes } from './openai/responses/responses.ts';

/** Everything that a client of another API reaches with its base URL. */
export function v1Routes(app: TypedApp, deps: AppDeps): void {
  const v1 = v1Deps(deps);
  chatRoutes(app, v1);
  modelRoutes(app, v1);
  responseRoutes(app, v1);
  messageRoutes(app, v1);
}
