// OpenAI's own client, against an app that listens.
import OpenAI from 'openai';
import { listen, type Served } from './served.ts';

/** Listens until the tests have ended. The client does not repeat requests. */
export async function connect({ app }: Pick<Served, 'app'>, apiKey = 'any'): Promise<OpenAI> {
  const { url } = await listen(app);
  return new OpenAI({ apiKey, baseURL: `${url}/v1`, maxRetries: 0 });
}
