// Routes of OpenAI's API that this server lacks, but whose paths resemble supported ones. They are refused by name, so that clients
// see that they did not misspell the path.
import { ServeError } from '../../common/errors.ts';
import { errorEnvelopeSchema } from '../../contracts/openai.ts';
import { type App, addRoute, json } from '../wire/route.ts';

const UNSUPPORTED = [
  ['post', '/v1/fine_tuning/checkpoints/{checkpoint}/permissions'],
  ['get', '/v1/fine_tuning/checkpoints/{checkpoint}/permissions'],
  ['delete', '/v1/fine_tuning/checkpoints/{checkpoint}/permissions/{id}'],
  ['post', '/v1/responses/compact'],
] as const;

/** Adds the routes. */
export function addUnsupportedRoutes(app: App): void {
  for (const [method, path] of UNSUPPORTED) {
    addRoute(app, {
      method,
      path,
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
