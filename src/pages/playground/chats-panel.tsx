// The list of chats on the page.

import { useRef, useState } from 'preact/hooks';
import { keepFocus, useFocusBack } from '../components/focus.ts';
import { Problem } from '../components/problem.tsx';
import { SearchField } from '../components/search-field.tsx';
import { dateAndTime, shortTime } from '../format.ts';
import { Act } from './button.tsx';
import type { Summary } from './chat-tree.ts';
import { store } from './store.ts';
import { TextEditor } from './text-editor.tsx';

const { chats, current } = store;

/** The list, with its search field and the buttons for all chats. */
export function ChatsPanel() {
  const search = useRef<HTMLInputElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const remove = async (removing: Promise<void>) => {
    await removing;
    keepFocus(search.current);
  };
  return (
    <details class="chats" id="chats" open={matchMedia('(min-width: 75rem)').matches}>
      <summary>
        <h2>Chats</h2>
      </summary>
      <SearchField
        id="chat-search"
        label="Search chats"
        ref={search}
        value={chats.query}
        onInput={(text) => chats.search(text)}
      />
      <Problem id="chats-problem" text={chats.problem.value} />
      <p class="help" id="chats-help" role="status">
        {chats.help.value}
      </p>
      <ul id="chat-list">
        {chats.shown.value.map((chat) => (
          <ChatItem
            key={chat.id}
            chat={chat}
            isCurrent={chat.id === current.chat.id}
            onRemove={() => remove(chats.remove(chat.id))}
          />
        ))}
      </ul>
      <div class="row">
        <Act
          id="chats-import"
          disabled={!chats.isStored.value}
          onClick={() => picker.current!.click()}
        >
          Import
        </Act>
        <Act id="chats-export" disabled={chats.isEmpty.value} onClick={() => chats.exportAll()}>
          Export all
        </Act>
        <Act
          id="chats-delete"
          disabled={chats.isEmpty.value}
          onClick={() => remove(chats.removeAll())}
        >
          Delete all
        </Act>
      </div>
      <input
        type="file"
        id="chat-file"
        ref={picker}
        accept=".json,application/json"
        hidden
        aria-label="Chats to import"
        onChange={({ currentTarget }) => {
          const [file] = currentTarget.files ?? [];
          if (file) void chats.importFile(file);
          currentTarget.value = ''; // the same file can be chosen again
        }}
      />
    </details>
  );
}

interface ItemProps {
  readonly chat: Summary;
  readonly isCurrent: boolean;
  readonly onRemove: () => void;
}

function ChatItem({ chat: { id, title, updatedAt }, isCurrent, onRemove }: ItemProps) {
  const [isRenamed, setRenamed] = useState(false);
  const rename = useRef<HTMLButtonElement>(null);
  useFocusBack(rename, isRenamed);
  if (isRenamed)
    return (
      <li>
        <TextEditor
          label="Title of the chat"
          action="Rename"
          text={title}
          isSelected
          onCancel={() => setRenamed(false)}
          onDone={(text) => {
            setRenamed(false);
            if (text !== title) void chats.rename(id, text);
          }}
        />
      </li>
    );
  return (
    <li>
      <button
        type="button"
        class="chat clip"
        title={title}
        aria-current={isCurrent || undefined}
        onClick={() => chats.open(id)}
      >
        <span>{title}</span>
      </button>
      <div class="chat-below">
        <small class="help clip" title={dateAndTime(updatedAt / 1000)}>
          {shortTime(updatedAt / 1000)}
        </small>
        <Act ref={rename} aria-label={`Rename: ${title}`} onClick={() => setRenamed(true)}>
          Rename
        </Act>
        <Act aria-label={`Delete: ${title}`} onClick={onRemove}>
          Delete
        </Act>
      </div>
    </li>
  );
}
