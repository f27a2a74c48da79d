// The account button in every page's header, and its dialog: sign in, change the key, sign out, and the theme.
import { useState } from 'preact/hooks';
import { account, closeAccount, leave, openAccount, signIn } from '../account.ts';
import { Dialog } from '../components/dialog.tsx';
import { ChoiceField, TextField } from '../components/fields.tsx';
import { setTheme, THEMES, theme } from './theme.ts';

/** The button, named like the tenant. */
export function AccountButton() {
  const open = async () => {
    if (await openAccount()) location.reload();
  };
  return (
    <button
      type="button"
      class="account clip"
      id="account-button"
      aria-haspopup="dialog"
      onClick={open}
    >
      <span class="hidden">Account: </span>
      <span id="account-name">{account.name.value}</span>
    </button>
  );
}

/** The dialog. */
export function AccountDialog() {
  const title = account.me.value ? 'Account' : 'Sign in';
  return (
    <Dialog id="account" title={title} isOpen={account.isOpen.value} onClose={() => closeAccount()}>
      <AccountForm />
    </Dialog>
  );
}

function AccountForm() {
  const [key, setKey] = useState('');
  const me = account.me.value;
  const isSignedIn = me?.needs_key === true;
  const problem = account.problem.value;
  return (
    <>
      <p id="account-identity">
        <Identity />
      </p>
      {me?.needs_key !== false && (
        <form
          id="account-form"
          onSubmit={(event) => {
            event.preventDefault();
            void signIn(key.trim());
          }}
        >
          <TextField
            id="account-key"
            type="password"
            label={isSignedIn ? 'New API key' : 'API key'}
            autocomplete="off"
            spellcheck={false}
            required
            autofocus
            problem={problem}
            value={key}
            onInput={setKey}
          />
        </form>
      )}
      <ChoiceField
        id="theme"
        label="Theme"
        options={THEMES}
        value={theme.value}
        onChange={setTheme}
      />
      <div class="row end">
        {isSignedIn && (
          <button type="button" class="danger" id="account-sign-out" onClick={leave}>
            Sign out
          </button>
        )}
        <button type="button" id="account-close" onClick={() => closeAccount()}>
          Close
        </button>
        {me?.needs_key !== false && (
          <button type="submit" class="primary" id="account-submit" form="account-form">
            {isSignedIn ? 'Change key' : 'Sign in'}
          </button>
        )}
      </div>
    </>
  );
}

function Identity() {
  const me = account.me.value;
  if (!me) {
    return (
      <>
        This server needs an API key. It stays in this browser’s open tabs of this server, and is
        removed when you close the last one.
      </>
    );
  }
  const tenant = <strong>{me.id}</strong>;
  if (!me.needs_key) return <>This server needs no API key. You are the tenant {tenant}.</>;
  const rights = [me.is_admin && ' with an admin key', me.is_read_only && ' that may only read'];
  return (
    <>
      You are signed in as {tenant}
      {me.is_read_only && !me.is_admin && ' with a key'}
      {rights}. Signing out removes the key from all tabs. Your chats stay in this browser for your
      next visit.
    </>
  );
}
