// Serves every route a second time below a prefix, as gateways expect that pass it on (KServe: /openai/v1/…).
import { getPath } from 'hono/utils/url';

/** For Hono's `getPath`: a request's path, decoded once, without the prefix where it has it. */
export function pathBelow(basePath: string): (request: Request) => string {
  return (request) => {
    const path = getPath(request);
    return path.startsWith(`${basePath}/`) ? path.slice(basePath.length) : path;
  };
}
