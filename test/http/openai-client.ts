// OpenAI's own client, against an app that listens.
import { after } from 'node:test';
import OpenAI from 'openai';
import { startServer } from '../../src/http/wire/server.ts';
import type { Served } from './served.ts';

/** Listens until the tests have ended. The client does not repeat requests. */
export async function connect({ app }: Pick<Served, 'app'>, apiKey = 'any'): Promise<OpenAI> {
  const server = await startServer(app, { host: '127.0.0.1', port: 0 });
  after(() => server.close(0));
  return new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 });
}
