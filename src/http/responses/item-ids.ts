// Ids of a response's items. They contain the response's id, so an item can be found without an index.

/** The prefix of a response's id. */
export const RESPONSE_PREFIX = 'resp_';

const ITEM_ID = /^[a-z]{1,8}_([0-9a-f]{32})(?:_\d{1,6})?$/;

/** Returns the id of the message that the response wrote. */
export function messageIdOf(responseId: string): string {
  return `msg_${responseId.slice(RESPONSE_PREFIX.length)}`;
}

/** Returns the id of an item that the response answered. */
export function itemIdOf(responseId: string, index: number): string {
  return `${messageIdOf(responseId)}_${index}`;
}

/** Returns the id of an item's response; undefined if the text is not the id of an item. */
export function responseIdOf(itemId: string): string | undefined {
  const part = ITEM_ID.exec(itemId)?.[1];
  return part === undefined ? undefined : `${RESPONSE_PREFIX}${part}`;
}
