// The dialog of saved prompts: saves the message, and inserts a saved one after asking for its variables.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { confirm } from '../components/confirm.ts';
import { Dialog } from '../components/dialog.tsx';
import { AreaField, TextField } from '../components/fields.tsx';
import { keepFocus, useFocusFallback } from '../components/focus.ts';
import { Problem } from '../components/problem.tsx';
import { Act } from './button.tsx';
import { type SavedPrompt, SavedPrompts } from './saved-prompts.ts';
import { store } from './store.ts';
import { filled, variablesOf } from './templates.ts';

const prompts = new SavedPrompts();

/** The dialog. */
export function PromptsDialog({ onClose }: { readonly onClose: () => void }) {
  const [chosen, choose] = useState<SavedPrompt>();
  useEffect(() => void prompts.load(), []);
  const insert = ({ text, system }: SavedPrompt, values: Record<string, string> = {}) => {
    store.insert(filled(text, values), system);
    onClose();
  };
  return (
    <Dialog id="prompts" title="Saved prompts" isOpen onClose={onClose}>
      {chosen ? (
        <Variables prompt={chosen} onInsert={(values) => insert(chosen, values)} />
      ) : (
        <PromptList
          onChoose={(prompt) =>
            variablesOf(prompt.text).length > 0 ? choose(prompt) : insert(prompt)
          }
        />
      )}
      {!chosen && <SaveForm />}
      <Problem text={prompts.problem.value} />
      <div class="row end">
        <button type="button" id="prompts-close" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function PromptList({ onChoose }: { readonly onChoose: (prompt: SavedPrompt) => void }) {
  const list = useRef<HTMLUListElement>(null);
  useFocusFallback(list, list);
  return (
    <ul id="prompt-list" ref={list} tabIndex={-1}>
      {prompts.all.value.length === 0 && (
        <li class="help">
          None yet. Write a message, with {'{{name}}'} where a value will be, and save it here.
        </li>
      )}
      {prompts.all.value.map((prompt) => (
        <li key={prompt.name} class="row">
          <Act title={prompt.text} onClick={() => onChoose(prompt)}>
            {prompt.name}
          </Act>
          <Act
            class="quiet small danger"
            aria-label={`Delete: ${prompt.name}`}
            onClick={() => removeIfSure(prompt.name)}
          >
            Delete
          </Act>
        </li>
      ))}
    </ul>
  );
}

async function removeIfSure(name: string): Promise<void> {
  const text = `The saved prompt “${name}” cannot be restored.`;
  if (await confirm({ title: 'Delete the prompt?', text, action: 'Delete' }))
    await prompts.remove(name);
}

function SaveForm() {
  const [name, setName] = useState('');
  const text = store.draft.value.trim();
  const isEmpty = text === '' || name.trim() === '';
  return (
    <form
      onSubmit={async (event) => {
        event.preventDefault();
        if (isEmpty) return;
        await prompts.save({ name: name.trim(), text, system: store.settings.system.value });
        setName('');
      }}
    >
      <TextField
        id="prompt-name"
        label="Save the message as"
        help={text === '' ? 'Write a message first.' : 'With the system prompt.'}
        value={name}
        onInput={setName}
      />
      <button type="submit" id="prompt-save" aria-disabled={isEmpty}>
        Save
      </button>
    </form>
  );
}

interface VariablesProps {
  readonly prompt: SavedPrompt;
  readonly onInsert: (values: Record<string, string>) => void;
}

function Variables({ prompt, onInsert }: VariablesProps) {
  const [values, setValues] = useState<Record<string, string>>({});
  const form = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => keepFocus(form.current!.querySelector('textarea')), []);
  return (
    <form
      ref={form}
      onSubmit={(event) => {
        event.preventDefault();
        onInsert(values);
      }}
    >
      {variablesOf(prompt.text).map((name) => (
        <AreaField
          key={name}
          id={`variable-${name}`}
          label={name}
          rows={1}
          value={values[name] ?? ''}
          onInput={(text) => setValues({ ...values, [name]: text })}
        />
      ))}
      <button type="submit" class="primary" id="prompt-insert">
        Insert
      </button>
    </form>
  );
}
