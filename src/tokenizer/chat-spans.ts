// Where messages stand in a rendered conversation. Knows no tokens and no templates.
import { alternatives } from './encoder.ts';

/** A message's content, and the text that stands for it in the skeleton. */
export interface MarkedContent {
  messageIndex: number;
  content: string;
  mark: string;
}

export interface ContentRange {
  messageIndex: number;
  /** In UTF-16 units of the rendering. */
  start: number;
  end: number;
}

/**
 * Finds contents in the rendering `text` by another one, the `skeleton`, in which their marks stand for them.
 * Undefined where the two differ in more than the contents and white space around them.
 */
export function locateContents(
  text: string,
  skeleton: string,
  contents: readonly MarkedContent[],
): ContentRange[] | undefined {
  if (contents.length === 0) return [];
  const anyMark = alternatives(contents.map(({ mark }) => mark));
  const found = skeleton.match(new RegExp(anyMark, 'gu')) ?? [];
  if (found.join() !== contents.map(({ mark }) => mark).join()) return undefined;
  const [first = '', ...following] = skeleton.split(new RegExp(anyMark, 'u'));
  if (!text.startsWith(first)) return undefined;

  const ranges: ContentRange[] = [];
  let start = first.length;
  for (const [i, { messageIndex, content }] of contents.entries()) {
    const next = following[i]!;
    const variants = [content, content.trim(), content.trimStart(), content.trimEnd()];
    const shown = variants.find((variant) => text.startsWith(variant + next, start));
    if (shown === undefined) return undefined;
    const end = start + shown.length;
    ranges.push({ messageIndex, start, end });
    start = end + next.length;
  }
  return start === text.length ? ranges : undefined;
}
