// What a ready server prints: where it is, and a request to try.
import type { Config } from '../settings/config.ts';
import type { Access } from '../tenants/access.ts';

export interface Greeting {
  url: string;
  name: string;
  /** Whether the base has a chat template. */
  canChat: boolean;
  /** Whether the folder of adapters is there; it may come later. */
  hasAdapters: boolean;
  /** Names of the demo adapters that are served. */
  demos: readonly string[];
  access: Access['kind'];
  config: Pick<Config, 'adapters'>;
}

export function greet({
  url,
  name,
  canChat,
  hasAdapters,
  demos,
  access,
  config,
}: Greeting): string {
  const [route, body] = canChat
    ? ['chat/completions', '{"model":"base","messages":[{"role":"user","content":"Hello!"}]}']
    : ['completions', '{"model":"base","prompt":[1,2,3]}'];
  const lines = [
    `${name} is served at ${url}`,
    `In a browser that is a playground, fine-tuning and status; the API is at ${url}/docs`,
  ];
  if (config.adapters !== undefined) {
    lines.push(`Adapters: ${config.adapters}${hasAdapters ? '' : ' (not there yet)'}`);
  }
  if (demos.length > 0) {
    lines.push(`Demo adapters: ${demos.join(', ')} (--no-demo hides them)`);
  }
  if (access === 'open') lines.push('Whoever reaches this port may use it.');
  const key = access === 'keys' ? ' -H "authorization: Bearer $KEY"' : '';
  lines.push(
    'Try it:',
    `  curl ${url}/v1/${route}${key} -H 'content-type: application/json' -d '${body}'`,
  );
  return `${lines.join('\n')}\n`;
}
