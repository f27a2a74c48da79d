// Dequantizes ggml's k-quants: super-blocks of 256 weights in groups of 16 or 32. Each group has a small integer scale, and for
// some formats a minimum; the super-block has half-precision factors of the scales and of the minima. Only the last
// subtraction rounds.

/** The weights of a super-block. */
export const SUPER_BLOCK = 256;
/** Weights that are packed side by side in the same bytes: 4 x 32 with 2 bits each, or 2 x 32 with 4 bits each. */
const RUN = 32;

/** Reads a half-precision number. */
type Half = (bytes: Uint8Array, at: number) => number;
type Dequantize = (block: Uint8Array, into: Float32Array, half: Half) => void;

/** A format of super-blocks. */
export interface SuperBlockFormat {
  readonly name: string;
  readonly blockBytes: number;
  /** Converts one super-block. */
  readonly dequantize: Dequantize;
}

/** ggml's type number → format. */
export const K_FORMATS: Readonly<Record<number, SuperBlockFormat>> = {
  10: { name: 'Q2_K', blockBytes: 84, dequantize: dequantizeQ2 },
  11: { name: 'Q3_K', blockBytes: 110, dequantize: dequantizeQ3 },
  12: { name: 'Q4_K', blockBytes: 144, dequantize: dequantizeQ4 },
  13: { name: 'Q5_K', blockBytes: 176, dequantize: dequantizeQ5 },
  14: { name: 'Q6_K', blockBytes: 210, dequantize: dequantizeQ6 },
};

/** 16 bytes (scale in the low nibble, minimum in the high one), 64 bytes of 2-bit codes, d and dmin. */
function dequantizeQ2(block: Uint8Array, into: Float32Array, half: Half): void {
  const [d, dmin] = [half(block, 80), half(block, 82)];
  for (let i = 0; i < SUPER_BLOCK; i++) {
    const scale = block[i >> 4]!;
    const code = (block[16 + byteOfTwoBits(i)]! >> shiftOfTwoBits(i)) & 3;
    into[i] = d * (scale & 15) * code - dmin * (scale >> 4);
  }
}

/** 32 bytes of third bits, 64 bytes of 2-bit codes, 16 scales of 6 bits in 12 bytes, and d. */
function dequantizeQ3(block: Uint8Array, into: Float32Array, half: Half): void {
  const d = half(block, 108);
  const scales = Float32Array.from({ length: 16 }, (_, group) => {
    const low = (block[96 + (group & 7)]! >> (group < 8 ? 0 : 4)) & 15;
    const high = (block[104 + (group & 3)]! >> (2 * (group >> 2))) & 3;
    return d * ((low | (high << 4)) - 32);
  });
  for (let i = 0; i < SUPER_BLOCK; i++) {
    const code = (block[32 + byteOfTwoBits(i)]! >> shiftOfTwoBits(i)) & 3;
    const hasThirdBit = (block[i % RUN]! >> Math.floor(i / RUN)) & 1;
    into[i] = scales[i >> 4]! * (hasThirdBit ? code : code - 4);
  }
}

/** d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, and 128 bytes of 4-bit codes. */
function dequantizeQ4(block: Uint8Array, into: Float32Array, half: Half): void {
  fromNibbles(block, into, { half, codes: 16, fifthBit: () => 0 });
}

/** As Q4_K, with 32 bytes of fifth bits before the codes. */
function dequantizeQ5(block: Uint8Array, into: Float32Array, half: Half): void {
  const fifthBit = (group: number, i: number) => (block[16 + i]! >> group) & 1;
  fromNibbles(block, into, { half, codes: 48, fifthBit });
}

interface NibbleLayout {
  readonly half: Half;
  /** The offset of the first codes. */
  readonly codes: number;
  fifthBit(group: number, i: number): number;
}

function fromNibbles(block: Uint8Array, into: Float32Array, layout: NibbleLayout): void {
  const { half, codes, fifthBit } = layout;
  const [d, dmin] = [half(block, 0), half(block, 2)];
  for (let group = 0; group < SUPER_BLOCK / RUN; group++) {
    const [scale, minimum] = scaleAndMinimum(block, group);
    const from = codes + (group >> 1) * RUN;
    const shift = 4 * (group & 1);
    for (let i = 0; i < RUN; i++) {
      const code = ((block[from + i]! >> shift) & 15) | (fifthBit(group, i) << 4);
      into[group * RUN + i] = d * scale * code - dmin * minimum;
    }
  }
}

/** The first four pairs have a byte for each number; the others have their high bits in the top bits of those bytes. */
function scaleAndMinimum(block: Uint8Array, group: number): [scale: number, minimum: number] {
  const at = (i: number) => block[4 + i]!;
  if (group < 4) return [at(group) & 63, at(group + 4) & 63];
  const low = at(group + 4);
  return [(low & 15) | ((at(group - 4) >> 6) << 4), (low >> 4) | ((at(group) >> 6) << 4)];
}

/** 128 bytes of low nibbles, 64 bytes of 2 high bits, 16 signed scales, and d. */
function dequantizeQ6(block: Uint8Array, into: Float32Array, half: Half): void {
  const d = half(block, 208);
  for (let i = 0; i < SUPER_BLOCK; i++) {
    const inHalf = i % 128;
    const low = block[(i >> 7) * 64 + (inHalf % 64)]! >> (inHalf < 64 ? 0 : 4);
    const high = block[128 + byteOfTwoBits(i)]! >> shiftOfTwoBits(i);
    const scale = (block[192 + (i >> 4)]! << 24) >> 24;
    into[i] = d * scale * (((low & 15) | ((high & 3) << 4)) - 32);
  }
}

/** 2-bit codes: a half of the super-block is 32 bytes, and its four runs of 32 weights follow one another in their bits. */
function byteOfTwoBits(i: number): number {
  return (i >> 7) * RUN + (i % RUN);
}

function shiftOfTwoBits(i: number): number {
  return 2 * ((i >> 5) & 3);
}
