// Routes of OpenAI's API that this server lacks, but whose paths resemble supported ones. They are refused by name, so that clients
// see that they did not misspell the path.
import { ServeError } from '../../common/errors.ts';
import { errorEnvelopeSchema } from '../../contracts/openai.ts';
import { type App, addRoute, json } from '../wire/route.ts';

const UNSUPPORTED = [
  'POST /v1/fine_tuning/checkpoints/{checkpoint}/permissions',
  'GET /v1/fine_tuning/checkpoints/{checkpoint}/permissions',
  'DELETE /v1/fine_tuning/checkpoints/{checkpoint}/permissions/{id}',
  'POST /v1/responses/compact',
] as const;

/** Adds the routes. */
export function addUnsupportedRoutes(app: App): void {
  for (const name of UNSUPPORTED) {
    addRoute(app, name, {
      summary: 'Not supported: 400, `unsupported_parameter`',
      response: json(errorEnvelopeSchema),
      handle() {
        throw new ServeError(
          'unsupported_parameter',
          "This route of OpenAI's API is not supported. /docs lists the routes that are.",
        );
      },
    });
  }
}

/** Parts of OpenAI's API that this server lacks, and what to use in their place. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  assistants: 'Use /v1/responses with `conversation`.',
  audio: 'This server has text models only.',
  batch: 'Use /v1/batches.',
  containers: 'Run tools in your own program: /v1/responses returns their calls.',
  evals: 'Use graders: /v1/fine_tuning/alpha/graders/run, and `lorikeet eval`.',
  images: 'This server has text models only.',
  moderations: 'Train a classifier, and send texts to /classify.',
  prompts: 'Keep prompts in your program, or in the instructions of an adapter.',
  realtime: 'Use /v1/responses with `stream`.',
  threads: 'Use /v1/responses with `conversation`.',
  uploads: 'Use POST /v1/files.',
  vector_stores: 'Use /v1/embeddings with a database of your own.',
  videos: 'This server has text models only.',
};

const STORED_CHATS =
  "Stored chats of OpenAI's API are not supported. Use /v1/responses of a server with --store-responses.";

/** Returns the message for a path whose route does not allow a request's method. */
export function wrongMethodMessage(path: string, allow: string): string {
  const message = `This route only allows ${allow}.`;
  return path.endsWith('/v1/chat/completions') ? `${message} ${STORED_CHATS}` : message;
}

/** Returns the message for a path without a route. */
export function unknownRouteMessage(path: string): string {
  if (path.includes('/v1/chat/completions/')) return STORED_CHATS;
  const [, part = ''] = /\/v1\/(\w+)/.exec(path) ?? [];
  const advice = Object.hasOwn(ELSEWHERE, part) ? ELSEWHERE[part] : undefined;
  return advice
    ? `/v1/${part} of OpenAI's API is not supported. ${advice}`
    : 'Unknown route. /docs lists all routes.';
}
