// The fields of the settings: models, system prompt and parameters.

import { useLayoutEffect, useRef } from 'preact/hooks';
import type { SamplingFormField } from '../../contracts/sampling-fields.ts';
import { Combobox } from '../components/combobox.tsx';
import { AreaField, CheckField, ChoiceField, NumberField } from '../components/fields.tsx';
import { Act } from './button.tsx';
import {
  EDITORS,
  type Editor,
  PARAMETERS,
  PRESET_NAMES,
  presetFields,
  presetOf,
} from './parameters.ts';
import { MAX_COLUMNS } from './settings.ts';
import { store } from './store.ts';

const CHOICES = [
  ['', 'The model decides'],
  ['required', 'At least one call'],
  ['none', 'No calls'],
] as const;

const { settings, isPlain } = store;

/** All settings. */
export function SettingsPanel() {
  const { typed, system, isOpen } = settings;
  const isKnown = settings.areModelsChosen.value || settings.isLoaded.value;
  const { stop = '', logprobs } = typed.value;
  return (
    <details
      class={isKnown ? 'settings' : 'settings loading'}
      id="settings"
      open={isOpen.value}
      onToggle={(event) => {
        isOpen.value = event.currentTarget.open;
      }}
    >
      <summary>
        <h2>Settings</h2>{' '}
        <span class="help" id="chosen">
          {isKnown ? settings.models.value.join(', ') : '…'}
        </span>
      </summary>
      <form
        id="settings-form"
        onSubmit={(event) => event.preventDefault()}
        onChange={() => settings.showAddress()}
      >
        <Models />
        <AreaField
          id="system"
          label="System prompt"
          rows={2}
          value={system.value}
          onInput={(text) => {
            system.value = text;
          }}
        />
        <ChoiceField
          id="preset"
          label="Preset"
          options={PRESET_NAMES.map((name) => [name, name])}
          value={presetOf(typed.value)}
          onChange={(name) => settings.type(presetFields(name))}
        />
        <Numbers all={PARAMETERS.filter(({ isAdvanced }) => !isAdvanced)} />
        <details class="more">
          <summary>More parameters</summary>
          <Numbers all={PARAMETERS.filter(({ isAdvanced }) => isAdvanced)} />
          <AreaField
            id="stop"
            label="Stop sequences"
            help="One per line"
            rows={2}
            value={stop}
            onInput={(text) => settings.type({ stop: text })}
          />
        </details>
        {EDITORS.map((editor) => (
          <JsonEditor key={editor.name} editor={editor} />
        ))}
        <CheckField
          id="logprobs"
          label="Token probabilities"
          checked={logprobs !== undefined}
          onChange={(isOn) => settings.type({ logprobs: isOn ? '1' : '' })}
        />
        <CheckField
          id="plain"
          label="Plain text instead of Markdown"
          checked={isPlain.value}
          onChange={(isOn) => {
            isPlain.value = isOn;
          }}
        />
      </form>
    </details>
  );
}

function Models() {
  const area = useRef<HTMLDivElement>(null);
  const { fields, listed } = settings;
  const items = listed.value.map(({ id, parent, owned_by: owner }) => ({
    value: id,
    note: parent === undefined ? 'base' : owner,
  }));
  const { length } = fields.value;
  /** The field to focus: the one that was added, or the one before the removed one. */
  const next = useRef<number | undefined>(undefined);
  useLayoutEffect(() => {
    if (next.current !== undefined) area.current!.querySelectorAll('input')[next.current]?.focus();
    next.current = undefined;
  }, [length]);
  const replace = (i: number, names: readonly string[]) => fields.value.toSpliced(i, 1, ...names);
  return (
    <>
      <div id="models" ref={area}>
        {fields.value.map((name, i) => (
          <div key={i} class="model">
            <Combobox
              id={['model', 'beside'][i] ?? `beside-${i}`}
              label={i === 0 ? 'Model' : i === 1 ? 'Compare with' : `Compare with (${i})`}
              items={items}
              value={name}
              onChange={(value) => settings.choose(replace(i, [value]))}
            />
            {i > 0 && (
              <Act
                aria-label={`Remove model ${i + 1}`}
                onClick={() => {
                  next.current = i - 1;
                  settings.choose(replace(i, []));
                }}
              >
                Remove
              </Act>
            )}
          </div>
        ))}
      </div>
      <button
        type="button"
        class="quiet small add"
        id="add-model"
        hidden={length >= MAX_COLUMNS}
        onClick={() => {
          next.current = length;
          fields.value = [...fields.value, ''];
        }}
      >
        Compare with another model
      </button>
    </>
  );
}

function Numbers({ all }: { readonly all: readonly SamplingFormField[] }) {
  const { typed, known } = settings;
  const defaults: Readonly<Record<string, unknown>> = known.value.generation_config ?? {};
  return (
    <div class="pair">
      {all.map(({ name, label, min, max, isInteger, standard }) => (
        <NumberField
          key={name}
          id={name}
          label={label}
          min={min}
          max={max}
          isInteger={isInteger}
          placeholder={String(defaults[name] ?? standard)}
          value={typed.value[name] ?? ''}
          onInput={(text) => settings.type({ [name]: text })}
        />
      ))}
    </div>
  );
}

/** A field for JSON, which is checked as typed. If the server refuses it, its reason is shown. */
function JsonEditor({ editor }: { readonly editor: Editor }) {
  const { name, title, label, help, read, example } = editor;
  const { typed, refusals, faulty } = settings;
  const field = useRef<HTMLTextAreaElement>(null);
  const part = useRef<HTMLDetailsElement>(null);
  const text = typed.value[name] ?? '';
  const { value, problem } = read(text);
  const refusal = refusals.value[name];
  const fault = problem || refusal;
  const isFaulty = faulty.value?.name === name;
  useLayoutEffect(() => {
    if (isFaulty || refusal) part.current!.open = true;
    if (isFaulty) field.current!.focus();
  }, [faulty.value, refusal]);
  const state = problem ? 'not JSON' : refusal ? 'refused' : value === undefined ? '' : 'on';
  return (
    <details class="more editor" id={`${name}-editor`} ref={part}>
      <summary>
        {title}{' '}
        <span class="help" id={`${name}-state`}>
          {state}
        </span>
      </summary>
      <div class="field">
        <div class="label-row">
          <label for={name}>{label}</label>
          <Act
            id={`${name}-example`}
            disabled={text.trim() !== ''}
            onClick={() => {
              settings.type({ [name]: JSON.stringify(example, null, 2) });
              settings.showAddress();
              field.current!.focus();
            }}
          >
            Example<span class="hidden"> of {label}</span>
          </Act>
        </div>
        <textarea
          id={name}
          ref={field}
          rows={5}
          spellcheck={false}
          autocapitalize="off"
          aria-describedby={`${name}-verdict`}
          aria-invalid={Boolean(fault)}
          value={text}
          onInput={(event) => settings.type({ [name]: event.currentTarget.value })}
        />
        <p class={fault ? 'verdict help bad' : 'verdict help'} id={`${name}-verdict`} role="status">
          {fault || (value === undefined ? help : 'Valid JSON')}
        </p>
      </div>
      {name === 'tools' && (
        <ChoiceField
          id="tool_choice"
          label="Tool choice"
          options={CHOICES}
          value={typed.value['tool_choice'] ?? ''}
          onChange={(choice) => settings.type({ tool_choice: choice })}
        />
      )}
    </details>
  );
}
