// A link that opens a model in the playground.

interface TryLinkProps {
  readonly model: string;
  /** A model whose answers are shown next to it. */
  readonly beside?: string | undefined;
  /** Texts that the playground is filled with. */
  readonly filled?: { readonly system?: string; readonly prompt?: string };
  readonly class?: string | undefined;
}

/** A link that opens a model in the playground. */
export function TryLink({ model, beside, filled, class: className }: TryLinkProps) {
  const query = new URLSearchParams({ model, ...(beside !== undefined && { beside }) });
  const texts = new URLSearchParams(filled).toString();
  return (
    <a
      class={className}
      href={`./?${query}${texts && `#${texts}`}`}
      aria-label={`Try it: ${model}`}
    >
      Try it
    </a>
  );
}
