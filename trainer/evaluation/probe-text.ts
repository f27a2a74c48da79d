// The text by which forgetting is measured: about 200 tokens of plain English on many things, written for this purpose, so
// that no model has learned it by heart. Changing it changes what limits mean.
import type { Example } from '../data/example.ts';
import type { Language } from '../data/language.ts';

const PROBE_TEXT = `The town lies on a slow river, about forty miles from the sea. In the morning boats come up \
with the tide and bring fish, salt and news; in the evening they go down again with flour, wool and apples. Most houses \
are built of grey stone, because wood was always scarce here, and their roofs are steep so that snow slides off. A bridge \
of five arches joins the two halves of the town. It was finished in 1843, after the third flood in twelve years had \
carried away the old one.

Water boils at a lower temperature on a mountain than at the coast, since the air above it presses less. This is why beans \
take longer to cook in a high valley, and why a lid helps. Plants turn light, water and carbon dioxide into sugar and \
oxygen. When the first engineers measured steam, they counted how many pounds of coal would lift how many tons of water, \
and paid their workers by the difference. If a train leaves at nine and travels at sixty miles an hour, it arrives at a \
station ninety miles away at half past ten.`;

/** All of its tokens count. */
export function probeExample({ tokenizer }: Language, maxPositions: number): Example {
  const tokens = tokenizer.encode(PROBE_TEXT, { specials: false, affixes: true });
  const ids = Int32Array.from(tokens.slice(0, maxPositions));
  return { ids, labels: ids, weights: undefined };
}
