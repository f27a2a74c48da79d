// Query and key weights whose heads rotate neighbouring rows (llama.cpp, glassllm), put into the order in which row i
// rotates with row i + half, as transformers does. The wrong order still gives fluent text: compare logits.

/** [heads, half, 2, cols] as stored becomes [heads, 2, half, cols]. */
export function unpermuteRows(
  stored: Float32Array,
  [rows = 0, cols = 0]: readonly number[],
  heads: number,
): Float32Array {
  const headDim = rows / heads;
  const half = headDim / 2;
  const values = new Float32Array(stored.length);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim);
    const inHead = row % headDim;
    const from = head * headDim + (inHead % half) * 2 + Math.floor(inHead / half);
    values.set(stored.subarray(from * cols, (from + 1) * cols), row * cols);
  }
  return values;
}
