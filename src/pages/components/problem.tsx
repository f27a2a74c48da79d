// A problem, which screen readers announce.

/** Hidden without a text. */
export function Problem({ text, id }: { readonly text: string; readonly id?: string }) {
  return (
    <p class="problem" role="alert" id={id} hidden={text === ''}>
      {text}
    </p>
  );
}
