// Token ids to embeddings and their gradients back into the table: copies of rows, so no graph is needed.

/** Copies the ids' rows of the table [V, D] to `hidden` [tokens, D]. */
export function embed(ids: Int32Array, table: Float32Array, hidden: Float32Array): void {
  const width = hidden.length / ids.length;
  for (let token = 0; token < ids.length; token++) {
    const start = ids[token]! * width;
    hidden.set(table.subarray(start, start + width), token * width);
  }
}

/** Adds the gradient rows [tokens, D] to the table's gradient [V, D]. */
export function accumulateEmbedding(
  ids: Int32Array,
  gradient: Float32Array,
  tableGradient: Float32Array,
): void {
  const width = gradient.length / ids.length;
  for (let token = 0; token < ids.length; token++) {
    const start = ids[token]! * width;
    for (let i = 0; i < width; i++) {
      tableGradient[start + i] = tableGradient[start + i]! + gradient[token * width + i]!;
    }
  }
}
