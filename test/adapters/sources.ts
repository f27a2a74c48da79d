// Adapters as the engine process is told of them, for tests without a registry.
import type { AdapterSource } from '../../src/contracts/generation.ts';

/** One folder whose identity is its content's digest. */
export function plainSource(digest: string, directory = `/adapters/${digest}`): AdapterSource {
  return { digest, owner: 'test', parts: [{ digest, directory, weight: 1 }] };
}
