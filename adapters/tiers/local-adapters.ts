// From a resolved adapter to files on the local disk that the engine process can read.
import type { AdapterSource } from '../../src/adapter-source.ts';
import { assert } from '../../src/assert.ts';
import { adapterIdentity, type ResolvedAdapter } from '../resolved.ts';

/** Of an adapter all of whose parts are local folders. */
export function toSource({ parts }: ResolvedAdapter): AdapterSource {
  return {
    digest: adapterIdentity(parts),
    owner: parts[0]!.owner,
    parts: parts.map(({ digest, weight, place }) => {
      assert(place.kind === 'folder', 'the files are local');
      return { digest, directory: place.directory, weight };
    }),
  };
}
