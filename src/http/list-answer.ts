// A page of a longer list, as OpenAI's clients follow it: `after` the id of its last item, while there is more.

export interface ListPage<T> {
  readonly items: readonly T[];
  readonly hasMore: boolean;
}

export function toListAnswer<T, Wire extends { id: string }>(
  { items, hasMore }: ListPage<T>,
  toWire: (item: T) => Wire,
) {
  const data = items.map(toWire);
  return {
    object: 'list' as const,
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: hasMore,
  };
}
