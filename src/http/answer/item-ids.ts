// Ids of a response's items. They contain the response's id, so an item can be found without an index.

/** The prefix of a response's id. */
export const RESPONSE_PREFIX = 'resp_';

const ITEM_ID = /^(?:msg|fc|in)_([0-9a-f]{32})(?:_\d{1,6})?$/;

/** Returns the id of an item that the response made. `index` is its place in the output. */
export function outputIdOf(prefix: 'msg' | 'fc', responseId: string, index: number): string {
  const id = `${prefix}_${responseId.slice(RESPONSE_PREFIX.length)}`;
  return index === 0 ? id : `${id}_${index}`;
}

/** Returns the id of an item that the response answered. */
export function inputIdOf(responseId: string, index: number): string {
  return `in_${responseId.slice(RESPONSE_PREFIX.length)}_${index}`;
}

/** Returns the id of an item's response; undefined if the text is not the id of an item. */
export function responseIdOf(itemId: string): string | undefined {
  const part = ITEM_ID.exec(itemId)?.[1];
  return part === undefined ? undefined : `${RESPONSE_PREFIX}${part}`;
}
