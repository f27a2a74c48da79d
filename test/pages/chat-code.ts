// A chat request as code, as the playground shows it.
import { LANGUAGES } from '../../src/pages/client-code.ts';

interface Request {
  /** The API's address, ending in `/v1`. */
  readonly url: string;
  readonly hasKeys: boolean;
  readonly body: Readonly<Record<string, unknown>>;
}

const codeIn =
  (language: string) =>
  ({ url, hasKeys, body }: Request) => {
    const path = 'input' in body ? '/classify' : '/v1/chat/completions';
    const server = url.replace(/\/v1$/, '');
    return LANGUAGES[language]!({ server, hasKeys, method: 'POST', path, body });
  };

export const toCurl = codeIn('curl');
export const toTypeScript = codeIn('TypeScript');
export const toPython = codeIn('Python');
