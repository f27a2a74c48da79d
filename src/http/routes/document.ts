// GET /openapi.json: the API's document, with grouped operations and example bodies that work unchanged. The routes describe
// themselves; `pages.ts` serves the page that shows the document.
import { lazy } from '../../common/lazy.ts';
import { VERSION } from '../../common/version.ts';
import type { App } from '../wire/route.ts';
import { sendFile, toStaticFile } from '../wire/static-file.ts';

const JSON_TYPE = 'application/json';

/** The groups in the order of the page. An operation belongs to the first group whose pattern matches its path. */
const TAGS: readonly { name: string; description: string; paths: RegExp }[] = [
  {
    name: 'Generation',
    description: 'Chat, responses, messages and text completions by the base or an adapter',
    paths: /^\/v1\/((chat\/)?completions|responses|conversations|messages)/,
  },
  {
    name: 'Embeddings',
    description: 'Vectors of texts, by the base or an adapter, and classes, by an adapter',
    paths: /^\/(v1\/embeddings|classify)/,
  },
  { name: 'Models', description: 'The base and its adapters', paths: /^\/v1\/models/ },
  { name: 'Tokenizer', description: 'Text to token ids and back', paths: /tokeniz/ },
  {
    name: 'Fine-tuning',
    description: 'Jobs that train adapters',
    paths: /^\/v1\/fine_tuning/,
  },
  { name: 'Files', description: 'Training data and results', paths: /^\/v1\/files/ },
  {
    name: 'Adapters',
    description: 'Published versions and aliases, and loading adapters into memory',
    paths: /adapter/,
  },
  {
    name: 'Batches',
    description: 'Files of requests that are answered while the server is idle',
    paths: /^\/v1\/batches/,
  },
  {
    name: 'Tinker',
    description: 'Training loops of your own, with the Tinker client',
    paths: /^\/api\/v1\//,
  },
  { name: 'Server', description: 'Health, metrics, usage, and the owner of a key', paths: /^/ },
];

const HELLO = { role: 'user', content: 'What is the capital of France?' };

/**
 * Example bodies by path, which come first in this order. Without one, the page would show a body with every field, which the
 * server refuses.
 */
const EXAMPLES: Readonly<Record<string, object>> = {
  '/v1/chat/completions': { model: 'base', messages: [HELLO], max_tokens: 64 },
  '/v1/completions': { model: 'base', prompt: 'The capital of France is', max_tokens: 16 },
  '/v1/embeddings': { model: 'base', input: ['The capital of France', 'Paris'] },
  '/classify': { model: 'my-classifier', input: ['What a lovely day'] },
  '/v1/responses': { model: 'base', input: HELLO.content, max_output_tokens: 64 },
  '/v1/messages': { model: 'base', messages: [HELLO], max_tokens: 64 },
  '/v1/messages/count_tokens': { model: 'base', messages: [HELLO] },
  '/v1/fine_tuning/jobs': { model: 'base', training_file: 'file-…', suffix: 'my-adapter' },
  '/v1/adapters/{name}/prefetch': {},
  '/v1/adapters/{name}/aliases/{alias}': { version: 1 },
  '/v1/adapters/{name}/aliases/{alias}/rollback': {},
  '/v1/load_lora_adapter': { lora_name: 'my-adapter', lora_path: '/adapters/my-adapter' },
  '/v1/unload_lora_adapter': { lora_name: 'my-adapter' },
  '/tokenize': { model: 'base', prompt: 'What is the capital of France?' },
  '/detokenize': { model: 'base', tokens: [504, 5, 260] },
};

/** The ways to send a key, by name. */
const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer' },
  apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
};
const WITH_KEY = Object.keys(SECURITY_SCHEMES).map((name) => ({ [name]: [] }));

interface Operation {
  tags?: string[];
  security?: object[];
  responses?: object;
  requestBody?: { content?: Record<string, { example?: unknown }> };
}

/** Adds the route. It must come after all others. `hasKeys` says whether this server refuses requests without a key. */
export function addDocumentRoute(app: App, { hasKeys }: { hasKeys: boolean }): void {
  // The routes are complete when the first request arrives.
  const file = lazy(async () =>
    toStaticFile(Buffer.from(JSON.stringify(describe(app, hasKeys))), JSON_TYPE),
  );
  app.get('/openapi.json', async (c) => sendFile(c, await file.get()));
}

function describe(app: App, hasKeys: boolean): object {
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'lorikeet',
      version: VERSION,
      description: "One base model, and an adapter for each request, with OpenAI's API.",
      license: { name: 'Apache 2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: '.' }], // relative to the document, so it also works below a base path
  });
  const groups = new Set<string>();
  const paths = Object.entries(document.paths ?? {}).sort(([a], [b]) => rankOf(a) - rankOf(b));
  for (const [path, operations] of paths) {
    const { name } = TAGS.find(({ paths }) => paths.test(path))!;
    groups.add(name);
    for (const operation of Object.values(operations) as Operation[]) {
      operation.tags = [name];
      const isRequired = hasKeys && '401' in operation.responses!;
      operation.security = isRequired ? WITH_KEY : [{}, ...WITH_KEY];
      const body = operation.requestBody?.content?.['application/json'];
      if (body && EXAMPLES[path]) body.example = EXAMPLES[path];
    }
  }
  const tags = TAGS.filter(({ name }) => groups.has(name));
  return {
    ...document,
    paths: Object.fromEntries(paths),
    components: { ...document.components, securitySchemes: SECURITY_SCHEMES },
    tags: tags.map(({ paths, ...tag }) => tag),
  };
}

function rankOf(path: string): number {
  const at = Object.keys(EXAMPLES).indexOf(path);
  return at < 0 ? Object.keys(EXAMPLES).length : at;
}
