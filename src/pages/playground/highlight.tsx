// Colors code. Loaded with the first block of code.
import { common, createLowlight } from 'lowlight';
import type { ComponentChildren } from 'preact';

const lowlight = createLowlight(common);

type Nodes = ReturnType<typeof lowlight.highlight>['children'];

/** Returns code in colored parts, and as it is if the language is unknown. */
export function highlight(text: string, language: string): ComponentChildren {
  return lowlight.registered(language)
    ? toParts(lowlight.highlight(language, text).children)
    : text;
}

function toParts(nodes: Nodes): ComponentChildren {
  return nodes.map((node) => {
    if (node.type === 'text') return node.value;
    if (node.type !== 'element') return null;
    const names = node.properties['className'] as string[];
    return <span class={names.join(' ')}>{toParts(node.children)}</span>;
  });
}
