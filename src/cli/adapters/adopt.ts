// lorikeet adapters adopt: files that were put into the store by hand become the version whose number they lie under.
// Not done unasked: a folder that is still being copied looks like one that is whole.
import { UsageError } from '../../common/errors.ts';
import { type AdapterContext, parseReference } from './context.ts';

export async function adopt(context: AdapterContext, reference: string): Promise<void> {
  const { repository, tenant, signal } = context;
  const { name, selector } = parseReference(reference);
  if (selector.kind !== 'version') throw new UsageError(`${reference}: must be NAME@VERSION`);
  const manifest = await repository.adopt({ tenant, name, version: selector.version }, { signal });
  context.answer(manifest, `${reference} is published (rank ${manifest.rank})`);
}
